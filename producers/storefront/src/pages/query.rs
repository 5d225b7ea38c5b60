//! The parameters of a URL: those that a path knows, each once and within its bound. All others are passed over, so that no
//! link with a campaign's name on it is another page.

use axum::extract::Query;
use axum::http::Uri;
use model::CollectionName;
use service::Problem;
use store::catalogue::Cursor;

use super::problems::INVALID_QUERY;
use crate::config::PublicReads;

/// The longest page of a list, bytes: twice what any list names.
const MAX_PAGE_BYTES: usize = 512;

/// What the paths of public reads know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) market: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) q: Option<String>,
    pub(super) page: Option<String>,
}

impl Parameters {
    /// Reads the query of `uri`. What is empty is not there.
    ///
    /// # Errors
    /// 400 for one that is too long, and for a parameter that comes twice.
    pub(super) fn read(uri: &Uri, config: &PublicReads) -> Result<Self, Problem> {
        let mut read = Self::default();
        let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return Ok(read) };
        if query.len() > config.max_query_bytes {
            let (most, len) = (config.max_query_bytes, query.len());
            return Err(wrong(format!("the query string has {len} bytes, at most {most} are read")));
        }
        let Query(pairs) =
            Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| wrong(error.to_string()))?;
        for (name, value) in pairs {
            let place = match name.as_str() {
                "market" => &mut read.market,
                "collection" => &mut read.collection,
                "q" => &mut read.q,
                "page" => &mut read.page,
                _ => continue,
            };
            if value.is_empty() {
                continue;
            }
            if place.replace(value).is_some() {
                return Err(wrong(format!("the parameter {name} comes twice")));
            }
        }
        Ok(read)
    }

    pub(super) fn collection(&self) -> Result<Option<CollectionName>, Problem> {
        let parse = |name: &String| name.parse().map_err(|error| wrong(format!("the parameter collection: {error}")));
        self.collection.as_ref().map(parse).transpose()
    }

    /// What is searched for, in one spelling: a search knows neither case nor how much blank is between words.
    pub(super) fn search(&self, config: &PublicReads) -> Result<Option<String>, Problem> {
        let Some(q) = &self.q else { return Ok(None) };
        let q = q.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
        if q.len() > config.max_search_bytes {
            let (most, len) = (config.max_search_bytes, q.len());
            return Err(wrong(format!("the parameter q has {len} bytes, at most {most} are searched for")));
        }
        if q.chars().any(char::is_control) {
            return Err(wrong("the parameter q holds a control character"));
        }
        Ok(Some(q).filter(|q| !q.is_empty()))
    }

    pub(super) fn page(&self) -> Result<Option<Cursor>, Problem> {
        let Some(page) = &self.page else { return Ok(None) };
        let cursor = Some(page).filter(|page| page.len() <= MAX_PAGE_BYTES).and_then(|page| page.parse().ok());
        let again = || wrong("the parameter page is none that this list named: begin without it, and follow its next");
        cursor.map(Some).ok_or_else(again)
    }
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(INVALID_QUERY, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Parameters, Problem> {
        Parameters::read(&format!("/v1/products?{query}").parse().unwrap(), &PublicReads::default())
    }

    fn refused(read: Result<impl std::fmt::Debug, Problem>) -> String {
        let problem = read.unwrap_err();
        assert_eq!(problem.kind(), INVALID_QUERY);
        problem.detail().to_owned()
    }

    #[test]
    fn what_is_not_known_and_what_is_empty_makes_no_difference() {
        let plain = read("q=mug").unwrap();
        for spelling in ["utm_source=x&q=mug", "q=mug&collection=&page=", "q=m%75g&sid=1", "&&q=mug&"] {
            assert_eq!(read(spelling).unwrap(), plain, "{spelling}");
        }
        assert_eq!(read("").unwrap(), Parameters::default());
    }

    #[test]
    fn a_search_has_one_spelling() {
        let config = PublicReads::default();
        let search = |query| read(query).unwrap().search(&config);
        assert_eq!(search("q=++Blue%20%20MUG%09").unwrap().as_deref(), Some("blue mug"));
        assert_eq!(search("q=%20").unwrap(), None);
        assert_eq!(search("q=GR%C3%96SSE").unwrap().as_deref(), Some("grösse"));
        assert!(refused(search("q=a%00b")).contains("control"));
        assert!(refused(search(&format!("q={}", "x".repeat(129)))).contains("129 bytes, at most 128"));
    }

    #[test]
    fn what_is_too_long_twice_or_not_its_kind_is_refused_with_the_reason() {
        assert!(refused(read(&"x".repeat(1_025))).contains("1025 bytes, at most 1024"));
        assert!(refused(read("q=a&q=b")).contains("q comes twice"));
        assert!(refused(read("collection=Two%20Words").unwrap().collection()).contains("collection"));
        assert!(refused(read("page=2").unwrap().page()).contains("begin without it"));
        assert!(refused(read(&format!("page={}", "A".repeat(600))).unwrap().page()).contains("begin without it"));
    }
}
