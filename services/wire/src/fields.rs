//! Reads a request's fields: lenient about what edges differ in (notation, what is unknown left out, null or empty,
//! fields that we do not know), strict about types and values, and with all that is wrong at once.

use std::net::IpAddr;
use std::str::FromStr;

use domain::Mac;
use domain::request::UnknownWord;
use httpkit::{FieldProblem, Problem};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::macros::{datetime, format_description};
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// The fields of one object, and what is wrong with them.
pub struct Fields<'a> {
    path: &'static str,
    object: Option<&'a Map<String, Value>>,
    problems: &'a mut Vec<FieldProblem>,
}

impl<'a> Fields<'a> {
    pub const fn new(object: &'a Map<String, Value>, problems: &'a mut Vec<FieldProblem>) -> Self {
        Self { path: "", object: Some(object), problems }
    }

    /// The object's fields under a name; `None` where there is none.
    pub fn object(&mut self, name: &'static str) -> Option<Fields<'_>> {
        let value = self.get(name)?;
        if let Value::Object(object) = value {
            return Some(Fields { path: name, object: Some(object), problems: self.problems });
        }
        self.wrong(name, "an object", value);
        None
    }

    /// A text of at most `chars_max` characters.
    pub fn text(&mut self, name: &'static str, chars_max: usize) -> Option<String> {
        let value = self.get(name)?;
        let Value::String(text) = value else {
            self.wrong(name, "a string", value);
            return None;
        };
        let path = self.path_of(name);
        self.check_text(path, text, chars_max)
    }

    /// A text, or a whole number in its stead.
    pub fn text_or_number(&mut self, name: &'static str, chars_max: usize) -> Option<String> {
        match self.get(name)? {
            Value::Number(number) if number.is_u64() => Some(number.to_string()),
            _ => self.text(name, chars_max),
        }
    }

    /// A list of at most `entries_max` texts. Empty ones are left out.
    pub fn texts(&mut self, name: &'static str, entries_max: usize, chars_max: usize) -> Vec<String> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let Value::Array(values) = value else {
            self.wrong(name, "a list of strings", value);
            return Vec::new();
        };
        if values.len() > entries_max {
            self.problem(name, "too_many", format!("at most {entries_max} entries"));
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(name));
            match value {
                Value::Null => {}
                Value::String(text) if text.trim().is_empty() => {}
                Value::String(text) => texts.extend(self.check_text(path, text, chars_max)),
                other => self.problems.push(wrong_type(path, "a string", other)),
            }
        }
        texts
    }

    /// A MAC address, in any notation.
    pub fn mac(&mut self, name: &'static str) -> Option<Mac> {
        self.parsed(name, 64, "invalid_mac", |text| {
            text.parse().map_err(|error: domain::mac::MacError| error.to_string())
        })
    }

    /// One of a list of words.
    pub fn word<T: FromStr<Err = UnknownWord>>(&mut self, name: &'static str) -> Option<T> {
        self.parsed(name, 64, "unknown_value", |text| {
            text.parse().map_err(|error: UnknownWord| error.to_string())
        })
    }

    /// One of a few words, each with what it stands for.
    pub fn one_of<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(name, 64, "unknown_value", |text| {
            let known = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
            known.map(|(_, value)| *value).ok_or_else(|| {
                let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("use one of {}", allowed.join(", "))
            })
        })
    }

    /// An IP address.
    pub fn ip(&mut self, name: &'static str) -> Option<IpAddr> {
        self.parsed(name, 64, "invalid_ip", |text| {
            text.trim()
                .parse()
                .map_err(|_| "not an IP address: write for example 192.0.2.7 or 2001:db8::7".to_owned())
        })
    }

    /// A time: RFC 3339, seconds since 1970, or ASN.1's `YYMMDDhhmmssZ` as FreeRADIUS has it.
    pub fn time(&mut self, name: &'static str) -> Option<OffsetDateTime> {
        let value = self.get(name)?;
        let time = match value {
            Value::String(text) => time_of(text.trim()),
            Value::Number(number) => {
                number.as_i64().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            }
            other => {
                self.wrong(name, "a time", other);
                return None;
            }
        };
        // Far outside of it, PostgreSQL and arithmetic have opinions of their own.
        let sane = datetime!(1950-01-01 00:00 UTC)..datetime!(9999-01-01 00:00 UTC);
        let time = time.filter(|time| sane.contains(time));
        if time.is_none() {
            let message =
                "not a time: write RFC 3339, for example 2026-11-20T12:00:00Z, or seconds since 1970";
            self.problem(name, "invalid_time", message);
        }
        time
    }

    /// A whole number, zero or more.
    pub fn count(&mut self, name: &'static str) -> Option<i64> {
        let value = self.get(name)?;
        let Value::Number(number) = value else {
            self.wrong(name, "a number", value);
            return None;
        };
        let count = number.as_i64().filter(|count| *count >= 0);
        if count.is_none() {
            self.problem(name, "out_of_range", format!("a whole number from 0 to {}", i64::MAX));
        }
        count
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.get(name)?;
        if let Value::Bool(flag) = value {
            return Some(*flag);
        }
        self.wrong(name, "true or false", value);
        None
    }

    /// A whole number from 0 to 65535, or its digits.
    pub fn number(&mut self, name: &'static str) -> Option<u16> {
        let value = self.get(name)?;
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            Value::String(digits) => digits.trim().parse().ok(),
            other => {
                self.wrong(name, "a number", other);
                return None;
            }
        };
        if number.is_none() {
            self.problem(name, "out_of_range", format!("a whole number from 0 to {}", u16::MAX));
        }
        number
    }

    /// Says that a field is needed.
    pub fn needed(&mut self, name: &'static str, message: &str) {
        self.problem(name, "required", message);
    }

    /// Whether something is wrong with a field already.
    pub fn is_wrong(&self, name: &'static str) -> bool {
        let path = self.path_of(name);
        self.problems.iter().any(|problem| problem.field == path)
    }

    /// What is left out, null or empty is not known.
    fn get(&self, name: &'static str) -> Option<&'a Value> {
        match self.object?.get(name)? {
            Value::Null => None,
            Value::String(text) if text.trim().is_empty() => None,
            value => Some(value),
        }
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        chars_max: usize,
        code: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name, chars_max)?;
        parse(&text).map_err(|message| self.problem(name, code, message)).ok()
    }

    fn check_text(&mut self, path: String, text: &str, chars_max: usize) -> Option<String> {
        // PostgreSQL takes no NUL; the other control characters have no business in a name, either.
        if text.chars().any(|c| c.is_control() && c != '\t') {
            self.problems.push(FieldProblem::new(path, "control_character", "leave control characters out"));
            return None;
        }
        if text.chars().nth(chars_max).is_some() {
            self.problems.push(FieldProblem::new(
                path,
                "too_long",
                format!("at most {chars_max} characters"),
            ));
            return None;
        }
        Some(text.to_owned())
    }

    fn wrong(&mut self, name: &'static str, wanted: &str, value: &Value) {
        let path = self.path_of(name);
        self.problems.push(wrong_type(path, wanted, value));
    }

    fn problem(&mut self, name: &'static str, code: &str, message: impl Into<String>) {
        let path = self.path_of(name);
        self.problems.push(FieldProblem::new(path, code, message));
    }

    fn path_of(&self, name: &'static str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// Reads a body; all that is wrong with it is one problem.
pub fn read<T>(body: &Map<String, Value>, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, Problem> {
    let mut problems = Vec::new();
    let value = read(&mut Fields::new(body, &mut problems));
    if problems.is_empty() { Ok(value) } else { Err(Problem::invalid(problems)) }
}

fn wrong_type(path: String, wanted: &str, value: &Value) -> FieldProblem {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    FieldProblem::new(path, "wrong_type", format!("must be {wanted}, not {got}"))
}

fn time_of(text: &str) -> Option<OffsetDateTime> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return time.checked_to_offset(UtcOffset::UTC);
    }
    let digits = text.strip_suffix('Z')?;
    if !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // RFC 5280 4.1.2.5.1: two digits of a year mean 1950 to 2049.
    let full = match digits.len() {
        12 if digits < "50" => format!("20{digits}"),
        12 => format!("19{digits}"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let format = format_description!("[year][month][day][hour][minute][second]");
    PrimitiveDateTime::parse(&full, format).ok().map(PrimitiveDateTime::assume_utc)
}
