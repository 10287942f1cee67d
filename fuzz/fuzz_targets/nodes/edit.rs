//! Mutations of a JSON response, chosen by the fuzzer.

use arbitrary::Arbitrary;
use serde_json::{Map, Number, Value};

/// A replacement for a JSON value.
#[derive(Arbitrary, Clone, Debug)]
pub enum Junk {
    Null,
    Bool(bool),
    Number(u64),
    Negative(i64),
    Fraction(i8),
    /// A number below the largest one.
    High(u8),
    Text(String),
    Hex(u64),
    /// Many leading zeros, in hex.
    Zeros(u8),
    Long(u16),
    List,
    Object,
    Deep(u8),
}

impl Junk {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => (*number).into(),
            Self::Negative(number) => (*number).into(),
            Self::Fraction(number) => (f64::from(*number) / 8.0).into(),
            Self::High(below) => (u64::MAX - u64::from(*below)).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Hex(number) => format!("{number:#x}").into(),
            Self::Zeros(count) => format!("0x{}", "0".repeat(usize::from(*count))).into(),
            Self::Long(count) => "a".repeat(usize::from(*count) % 8_192).into(),
            Self::List => Value::Array(vec![]),
            Self::Object => Value::Object(Map::new()),
            Self::Deep(levels) => {
                (0..*levels).fold(Value::Null, |value, _| Value::Array(vec![value]))
            }
        }
    }
}

/// One mutation of a JSON value. Positions count all nested values, and wrap.
#[derive(Arbitrary, Clone, Debug)]
pub enum Edit {
    Put(u16, Junk),
    Remove(u16),
    /// Changes a digit or letter of a string.
    Digit(u16, u8, u8),
    /// Adds to a number, in any notation.
    Add(u16, i8),
    /// Copies the value at the second position to the first.
    Copy(u16, u16),
    /// Duplicates an item of a list.
    Double(u16),
    Reverse(u16),
}

impl Edit {
    /// Applies the mutation.
    pub fn apply(&self, value: &mut Value) {
        let places = places(value);
        let place = |at: u16| places[usize::from(at) % places.len()].as_str();
        match self {
            Self::Put(at, junk) => put(value, place(*at), |_| junk.value()),
            Self::Remove(at) => around(value, place(*at), |list, at| drop(list.remove(at))),
            Self::Digit(at, digit, with) => {
                put(value, place(*at), |old| changed(old, *digit, *with))
            }
            Self::Add(at, with) => put(value, place(*at), |old| added(old, i64::from(*with))),
            Self::Copy(to, from) => {
                let copied = value.pointer(place(*from)).cloned().unwrap_or_default();
                put(value, place(*to), |_| copied);
            }
            Self::Double(at) => {
                around(value, place(*at), |list, at| list.insert(at, list[at].clone()));
            }
            Self::Reverse(at) => {
                if let Some(Value::Array(list)) = value.pointer_mut(place(*at)) {
                    list.reverse();
                }
            }
        }
    }
}

/// Every value in `value`, as JSON pointers.
fn places(value: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let mut at = 0;
    while let Some(place) = places.get(at).cloned() {
        match value.pointer(&place) {
            Some(Value::Array(list)) => {
                places.extend((0..list.len()).map(|item| format!("{place}/{item}")));
            }
            // A key with a slash or a tilde yields a pointer that resolves to nothing, which is harmless.
            Some(Value::Object(map)) => {
                places.extend(map.keys().map(|key| format!("{place}/{key}")));
            }
            _ => {}
        }
        at += 1;
    }
    places
}

fn put(value: &mut Value, place: &str, new: impl FnOnce(&Value) -> Value) {
    if let Some(slot) = value.pointer_mut(place) {
        *slot = new(slot);
    }
}

/// Applies `list` to the list that contains `place`. If an object contains it, removes the value.
fn around(value: &mut Value, place: &str, list: impl FnOnce(&mut Vec<Value>, usize)) {
    let Some((outer, item)) = place.rsplit_once('/') else { return };
    match value.pointer_mut(outer) {
        Some(Value::Object(map)) => drop(map.remove(item)),
        Some(Value::Array(items)) => list(items, item.parse().expect("as counted")),
        _ => {}
    }
}

fn changed(old: &Value, at: u8, with: u8) -> Value {
    let text = match old {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return old.clone(),
    };
    let mut bytes = text.into_bytes();
    let length = bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(usize::from(at) % length) {
        *byte = b"0123456789abcdefABCDEFx"[usize::from(with) % 23];
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.parse::<Number>() {
        Ok(number) if old.is_number() => Value::Number(number),
        _ => Value::String(text),
    }
}

fn added(old: &Value, with: i64) -> Value {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match old {
        Value::Number(n) => n.as_u64().map_or(old.clone(), |n| n.wrapping_add_signed(with).into()),
        Value::String(text) => match number(text).map(|number| number.wrapping_add_signed(with)) {
            Some(number) if text.starts_with("0x") => format!("{number:#x}").into(),
            Some(number) => number.to_string().into(),
            None => old.clone(),
        },
        _ => old.clone(),
    }
}
