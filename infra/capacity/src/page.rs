//! A page with pictures and tables: one file that needs no network. The pictures are drawn by uPlot (`assets/uplot`,
//! unmodified).

use std::fmt::Write as _;

const PAGE: &str = include_str!("../assets/report.html");
const STYLE: &str = include_str!("../assets/report.css");
const SCRIPT: &str = include_str!("../assets/report.js");
const UPLOT: &str = include_str!("../assets/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../assets/uplot/uPlot.min.css");

/// What a page shows. Every text is shown as it is, and never obeyed.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Of the browser's window.
    pub title: String,
    /// Above everything.
    pub heading: String,
    /// Below the heading.
    pub subtitle: String,
    /// The pictures' common axis: seconds from the start.
    pub seconds: Vec<f64>,
    /// In this order.
    pub pictures: Vec<Picture>,
    /// Below the pictures, in this order.
    pub tables: Vec<Table>,
}

/// A picture: what it is called, what its axis counts, and its lines. The script draws what it finds here.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Picture {
    /// What it shows.
    pub title: &'static str,
    /// A sentence on it.
    pub note: &'static str,
    /// Of the axis at its side.
    pub unit: &'static str,
    /// At least one.
    pub lines: Vec<Line>,
}

/// A line of a picture.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    /// In the legend.
    pub name: &'static str,
    /// One of the style's `--line-N`: 1 blue, 2 green, 3 amber, 4 red.
    pub color: u8,
    /// One for each of [`Page::seconds`]; `None` is a gap.
    pub values: Vec<Option<f64>>,
}

/// A table. The first cell of a row names it.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Above it.
    pub title: String,
    /// Names of the columns; none where they need none.
    pub head: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

impl Page {
    /// The file. Everything in it is part of it: style, script, figures.
    pub fn html(&self) -> String {
        let data = serde_json::json!({ "seconds": self.seconds, "pictures": self.pictures });
        // `</script>` in a text would end the script that holds it.
        let data = data.to_string().replace('<', "\\u003c");
        let parts = [
            ("{{title}}", escaped(&self.title)),
            ("{{uplot_style}}", UPLOT_STYLE.to_owned()),
            ("{{style}}", STYLE.to_owned()),
            ("{{heading}}", escaped(&self.heading)),
            ("{{subtitle}}", escaped(&self.subtitle)),
            ("{{tables}}", self.tables.iter().map(table).collect()),
            ("{{uplot}}", UPLOT.to_owned()),
            ("{{data}}", data),
            ("{{script}}", SCRIPT.to_owned()),
        ];
        fill(PAGE, &parts)
    }
}

/// Puts each part into its place, in the order in which the page has them, and looks at nothing that was put in.
fn fill(page: &str, parts: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(page.len() + parts.iter().map(|(_, part)| part.len()).sum::<usize>());
    let mut rest = page;
    for (place, part) in parts {
        if let Some((before, after)) = rest.split_once(place) {
            filled.push_str(before);
            filled.push_str(part);
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}

fn table(table: &Table) -> String {
    let mut html = format!("<section>\n<h2>{}</h2>\n<table>", escaped(&table.title));
    if !table.head.is_empty() {
        html.push_str("<thead><tr>");
        for name in &table.head {
            let _ = write!(html, "<th scope=\"col\">{}</th>", escaped(name));
        }
        html.push_str("</tr></thead>");
    }
    html.push_str("<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (position, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            let _ = if position == 0 {
                write!(html, "<th scope=\"row\">{cell}</th>")
            } else {
                write!(html, "<td>{cell}</td>")
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n</section>\n");
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_columns_and_shows_texts_as_they_are() {
        let cell = |text: &str| text.to_owned();
        let rows = vec![vec![cell("net-cut"), cell("<b>7</b>")]];
        let table = Table { title: cell("Recovery & rest"), head: vec![cell("class"), cell("count")], rows };
        let html = Page { tables: vec![table], ..Page::default() }.html();
        assert!(html.contains("<h2>Recovery &amp; rest</h2>"));
        assert!(html.contains("<th scope=\"col\">count</th>") && html.contains("<td>&lt;b&gt;7&lt;/b&gt;</td>"));
        assert!(html.contains("<th scope=\"row\">net-cut</th>"));
    }
}
