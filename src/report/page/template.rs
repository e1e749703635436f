//! The page's template and style sheet, both part of the program.

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

/// Every file of the page, by the name that templates know it by.
const TEMPLATES: [(&str, &str); 8] = [
    ("base.html", include_str!("base.html")),
    ("form.html", include_str!("form.html")),
    ("one.html", include_str!("one.html")),
    ("page.html", include_str!("page.html")),
    ("parts.html", include_str!("parts.html")),
    ("plain.html", include_str!("plain.html")),
    ("sql.html", include_str!("sql.html")),
    // Rows by themselves, where a result is written as it comes.
    (
        "rows.html",
        "{%- from \"parts.html\" import row -%}{%- for cells in rows -%}{{ row(cells) }}\n{% endfor -%}",
    ),
];
const STYLE: &str = include_str!("page.css");

/// The templates, with everything from the ledger escaped.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).expect("the tests render it");
    }
    environment.add_filter("prose", super::prose::filter);
    environment.add_global("style", STYLE);
    environment.add_global("version", env!("CARGO_PKG_VERSION"));
    environment
}

/// What a template can look into.
pub(super) fn shown<T: Serialize>(value: T) -> Value {
    Value::from(Serde(value))
}

/// Fills a template in.
///
/// # Errors
/// It cannot be filled in.
pub(super) fn render(name: &str, context: Value) -> io::Result<String> {
    let environment = environment();
    let template = environment.get_template(name).map_err(io::Error::other)?;
    template.render(context).map_err(io::Error::other)
}
