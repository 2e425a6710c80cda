//! Templates: text with `{placeholders}`.

/// The names of all placeholders of a template.
pub fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).filter(is_name)
}

/// A template with its game in place.
pub fn fill_game(template: &str, slug: &str) -> String {
    template.replace("{game}", slug)
}

/// A template with everything in place that has a value. `open` and `close` stand around the names.
pub fn fill(template: &str, open: &str, close: &str, values: &[(&str, String)]) -> String {
    let mut filled = template.to_owned();
    for (name, value) in values {
        filled = filled.replace(&[open, name, close].concat(), value);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_other_braces_are_not() {
        let found: Vec<_> = placeholders("{a}/{b-2} {} {C} { d } {e").collect();
        assert_eq!(found, ["a", "b-2"]);
        let values = [("port", "80".to_owned()), ("folder", "/tmp".to_owned())];
        assert_eq!(fill("listen @port@; {port} @else@", "@", "@", &values), "listen 80; {port} @else@");
        assert_eq!(fill("{folder}/{folder}:{port}", "{", "}", &values), "/tmp//tmp:80");
    }
}
