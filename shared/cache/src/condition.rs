//! What a Redis says of itself that would break what this cache promises.

const NO_LIMIT: &str =
    "maxmemory is 0: pages of searches that somebody makes up take memory until the machine has none; set it";
const REFUSES: &str = "maxmemory-policy is noeviction: once it is full it takes no purge, and old pages are served until they are \
                       max_age_s old; set allkeys-lru";

/// What is wrong by the section `memory` of its `INFO`. What it does not tell is not held against it.
pub(crate) fn warnings(info: &str) -> Vec<&'static str> {
    let is = |name: &str, value: &str| info.lines().any(|line| line.trim_end().split_once(':') == Some((name, value)));
    [(is("maxmemory", "0"), NO_LIMIT), (is("maxmemory_policy", "noeviction"), REFUSES)]
        .into_iter()
        .filter_map(|(wrong, text)| wrong.then_some(text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_limit_or_one_that_refuses_when_it_is_full_is_warned_of() {
        let info = |limit: &str, policy: &str| {
            format!("# Memory\r\nused_memory:1024\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(warnings(&info("0", "noeviction")), [NO_LIMIT, REFUSES]);
        assert_eq!(warnings(&info("1048576", "noeviction")), [REFUSES]);
        assert!(warnings(&info("1048576", "allkeys-lru")).is_empty());
        assert!(warnings("").is_empty());
    }
}
