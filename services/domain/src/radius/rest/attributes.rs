//! The attributes of one packet, as texts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Attributes with different names.
const NAMES_MAX: usize = 512;
/// Values of one attribute.
const VALUES_MAX: usize = 64;
/// Characters of one value: a joined list of a certificate's names is the longest.
const VALUE_CHARS_MAX: usize = 4_096;

/// A packet's attributes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    values: BTreeMap<String, Vec<String>>,
    /// Attributes with a value that could not be taken.
    unreadable: Vec<String>,
}

/// More, or longer, than any packet has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("more than {NAMES_MAX} attributes")]
    TooMany,
    /// What a certificate says is believed whole, or not at all.
    #[error("the value of {0} cannot be read")]
    Attribute(String),
}

impl Attributes {
    /// Reads a body. Values that no attribute can have are left out; see [`Self::all_readable`].
    ///
    /// # Errors
    /// Where there are more attributes than any packet holds.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Unreadable> {
        if body.len() > NAMES_MAX {
            return Err(Unreadable::TooMany);
        }
        let mut attributes = Self::default();
        for (name, value) in body {
            // A tag stands behind the name.
            let name = match name.rsplit_once(':') {
                Some((name, tag)) if tag.bytes().all(|b| b.is_ascii_digit()) => name,
                _ => name,
            };
            let value = match value {
                Value::Object(object) => object.get("value").unwrap_or(&Value::Null),
                other => other,
            };
            let one = std::slice::from_ref(value);
            let several = if let Value::Array(several) = value { several } else { one };
            let held = attributes.values.entry(name.to_owned()).or_default();
            for value in several {
                match text_of(value) {
                    Ok(Some(text)) if held.len() < VALUES_MAX => held.push(text),
                    Ok(None) => {}
                    Ok(Some(_)) | Err(()) => attributes.unreadable.push(name.to_owned()),
                }
            }
        }
        attributes.values.retain(|_, values| !values.is_empty());
        Ok(attributes)
    }

    /// The first value of an attribute.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// Every value of an attribute, in the packet's order.
    #[must_use]
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names of the attributes.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.values.keys().map(String::as_str).collect()
    }

    /// A whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.first(name)?.parse().ok()
    }

    /// That every value of the attributes whose names begin so was taken.
    ///
    /// # Errors
    /// Names the first that was not.
    pub fn all_readable(&self, names_begin: &str) -> Result<(), Unreadable> {
        match self.unreadable.iter().find(|name| name.starts_with(names_begin)) {
            Some(name) => Err(Unreadable::Attribute(name.clone())),
            None => Ok(()),
        }
    }
}

/// `None` for nothing, an error for what no attribute's value is.
fn text_of(value: &Value) -> Result<Option<String>, ()> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => of_latin1(text),
        Value::Array(_) | Value::Object(_) => return Err(()),
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().nth(VALUE_CHARS_MAX).is_some() || text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(());
    }
    Ok(Some(text.to_owned()))
}

/// Bytes that came one by one as characters, put together again as the UTF-8 that they were. What is none stays.
fn of_latin1(text: &str) -> String {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(decoded)) => decoded,
        _ => text.to_owned(),
    }
}
