//! The little markup that descriptions and meanings use, `*so*` and `` `so` ``, as HTML. Everything else is text.

use minijinja::HtmlEscape;
use minijinja::Value;

/// A filter for templates.
pub(super) fn filter(text: &str) -> Value {
    Value::from_safe_string(html(text))
}

/// What a text is as HTML.
pub(super) fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['*', '`']) {
        let mark = &rest[at..=at];
        let Some(inner) = marked(&rest[at..], mark, rest[..at].chars().next_back()) else {
            html.push_str(&HtmlEscape(&rest[..=at]).to_string());
            rest = &rest[at + 1..];
            continue;
        };
        let element = if mark == "`" { "code" } else { "em" };
        let (before, inside) = (HtmlEscape(&rest[..at]), HtmlEscape(inner));
        html.push_str(&format!("{before}<{element}>{inside}</{element}>"));
        rest = &rest[at + inner.len() + 2..];
    }
    html.push_str(&HtmlEscape(rest).to_string());
    html
}

/// What stands between two marks, the first of which begins the text. A star between spaces, or within a word, is none.
fn marked<'a>(text: &'a str, mark: &str, before: Option<char>) -> Option<&'a str> {
    let (inner, after) = text[1..].split_once(mark)?;
    let is_apart = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    let is_tight = !inner.is_empty() && inner.trim() == inner;
    let stands = mark == "`" || is_apart(before) && is_apart(after.chars().next());
    (is_tight && stands).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn only_the_two_marks_are_markup() {
        for (text, expected) in [
            ("whom it is *assigned* to", "whom it is <em>assigned</em> to"),
            ("as `name (2)`, `a<b`", "as <code>name (2)</code>, <code>a&lt;b</code>"),
            ("*at* the start", "<em>at</em> the start"),
            ("2 * 3 * 4", "2 * 3 * 4"),
            ("a*b*c", "a*b*c"),
            ("one * alone, `open", "one * alone, `open"),
            ("*<script>*", "<em>&lt;script&gt;</em>"),
            ("** ``", "** ``"),
            ("<b>é*ü*</b> & \"so\"", "&lt;b&gt;é*ü*&lt;&#x2f;b&gt; &amp; &quot;so&quot;"),
        ] {
            assert_eq!(html(text), expected, "{text}");
        }
    }
}
