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
            if !same(value, &actual[name]) {
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
