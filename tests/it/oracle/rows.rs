//! Rows of an answer, and how two answers are compared.

use serde_json::{Map, Value, json};

use super::ledger::{HOUR, Micros, State, User};

/// One row: its columns in their order.
pub type Row = Map<String, Value>;

/// Puts a row together.
pub fn row<const N: usize>(columns: [(&str, Value); N]) -> Row {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `attach_users` as the API gives it, sorted, with always the same four keys.
pub fn attach_users(users: &[User]) -> Value {
    let users = users.iter().map(|user| {
        json!({
            "id": user.id,
            "name": user.name,
            "type": user.kind,
            "user_group": user.user_group,
        })
    });
    users.collect()
}

/// The users' names, each user once.
pub fn user_names(state: &State) -> Value {
    state.identities().into_iter().map(|(_, _, name)| Value::from(name)).collect()
}

/// A quotient; nothing where the denominator has nothing in it.
pub fn ratio(numerator: i128, denominator: i128) -> Option<f64> {
    (denominator != 0).then(|| numerator as f64 / denominator as f64)
}

/// A quotient in percent.
pub fn percent(numerator: i64, denominator: i64) -> Option<f64> {
    ratio(100 * i128::from(numerator), i128::from(denominator))
}

/// A length of time in hours.
pub fn hours(time: Micros) -> f64 {
    time as f64 / HOUR as f64
}

/// Says where two answers differ first: in the number of rows, in a column, or in a value.
pub fn difference(expected: &[Row], actual: &[Row]) -> Option<String> {
    for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        if !expected.keys().eq(actual.keys()) {
            let (expected, actual) = (expected.keys(), actual.keys());
            return Some(format!("row {index}: columns {actual:?} instead of {expected:?}"));
        }
        for (name, value) in expected {
            if !same(value, &actual[name]) && !is_rounding(name, expected, actual) {
                return Some(format!(
                    "row {index}, {name}: {} instead of {value}\nexpected {}\n  actual {}",
                    actual[name],
                    Value::from(expected.clone()),
                    Value::from(actual.clone()),
                ));
            }
        }
    }
    let (rows, wanted) = (actual.len(), expected.len());
    (rows != wanted).then(|| {
        let odd = expected.get(rows).or(actual.get(wanted)).unwrap();
        format!("{rows} rows instead of {wanted}; the first odd one: {odd:?}")
    })
}

/// Whether a difference of two figures is apart by no more than what they are rounded by: it may be far smaller
/// than they are.
fn is_rounding(name: &str, expected: &Row, actual: &Row) -> bool {
    let figure = |row: &Row, name: &str| row.get(name).and_then(Value::as_f64);
    let (Some(value), Some(other)) = (figure(expected, "value"), figure(expected, "other_value"))
    else {
        return false;
    };
    let unit = match name {
        "change" => 1.0,
        "change_pct" => 100.0 / other.abs(),
        _ => return false,
    };
    let (Some(one), Some(two)) = (figure(expected, name), figure(actual, name)) else {
        return false;
    };
    (one - two).abs() <= 1e-9 * unit * value.abs().max(other.abs())
}

#[test]
fn a_change_far_smaller_than_its_figures_may_be_apart_by_their_rounding() {
    let row = |change: f64, pct: f64| {
        let row = serde_json::json!({
            "value": 3.0, "other_value": 2.999_999_999_802_738_2, "change": change, "change_pct": pct,
        });
        vec![row.as_object().unwrap().clone()]
    };
    let expected = row(1.972_617_624_801_387e-10, 6.575_392_083_103_648e-9);
    let actual = row(1.972_613_183_909_288_6e-10, 6.575_377_280_129_985e-9);
    assert_eq!(difference(&expected, &actual), None);
    assert!(difference(&expected, &row(1e-8, 6.575e-9)).is_some());
    assert!(difference(&expected, &row(1.972e-10, 1e-6)).is_some());
}

/// Two values are the same if they are equal, or as numbers no further apart than rounding: 1e-9 of
/// the larger. Two integers must be equal.
pub fn same(expected: &Value, actual: &Value) -> bool {
    match (expected.as_f64(), actual.as_f64()) {
        (Some(one), Some(other)) if !(expected.is_i64() && actual.is_i64()) => {
            (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
        }
        _ => expected == actual,
    }
}

/// Brings the rows of a view, which have no order of their own, into one.
pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| Value::from(row.clone()).to_string());
    rows
}
