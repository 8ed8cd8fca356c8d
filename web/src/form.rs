//! Reading forms and showing them again.

use std::fmt;
use std::str::FromStr;

use askama::filters::HtmlSafe;
use domain::Mac;
use domain::policy::FieldError;

use crate::ui::{self, escape};

/// What is wrong with a form, by field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors(pub(crate) Vec<FieldError>);

impl Errors {
    /// What is wrong with one field, to stand below it. Empty where nothing is.
    pub(crate) fn of(&self, field: &str) -> FieldErrors {
        let messages = self.0.iter().filter(|e| e.field == field).map(|e| e.message.clone());
        FieldErrors { field: field.to_owned(), messages: messages.collect() }
    }

    /// The attributes of a control that has errors.
    pub(crate) fn attributes(&self, field: &str) -> Attributes {
        self.described(field, "")
    }

    /// The attributes of a control that the element `help` describes, whether it has errors or not.
    pub(crate) fn described(&self, field: &str, help: &str) -> Attributes {
        let wrong = self.0.iter().any(|e| e.field == field);
        Attributes { wrong: wrong.then(|| field.to_owned()), help: help.to_owned() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Messages below a field.
pub(crate) struct FieldErrors {
    field: String,
    messages: Vec<String>,
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.messages.is_empty() {
            return Ok(());
        }
        write!(f, r#"<div id="{}-error">"#, escape(&self.field))?;
        for message in self.messages.iter().take(10) {
            write!(f, r#"<p class="error">{}<span>{}</span></p>"#, ui::icon("bad"), escape(message))?;
        }
        if self.messages.len() > 10 {
            write!(f, r#"<p class="error">… and {} more.</p>"#, self.messages.len() - 10)?;
        }
        f.write_str("</div>")
    }
}

impl HtmlSafe for FieldErrors {}

/// `aria-invalid` and `aria-describedby`, each where there is something to say. An element bears each once.
pub(crate) struct Attributes {
    wrong: Option<String>,
    /// The id of what explains the field; empty for nothing.
    help: String,
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let help = escape(&self.help);
        match &self.wrong {
            Some(field) => {
                let (field, space) = (escape(field), if help.is_empty() { "" } else { " " });
                write!(f, r#" aria-invalid="true" aria-describedby="{field}-error{space}{help}""#)
            }
            None if help.is_empty() => Ok(()),
            None => write!(f, r#" aria-describedby="{help}""#),
        }
    }
}

impl HtmlSafe for Attributes {}

/// A path of this dashboard to go back to, whatever was sent: never another host.
pub(crate) fn local_path(path: &str) -> String {
    let local = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && !path.chars().any(|c| c.is_control() || c.is_whitespace());
    if local { path.to_owned() } else { "/".to_owned() }
}

/// A filter's value: trimmed, and `None` where it was left empty.
pub(crate) fn given(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty()).then_some(text)
}

/// A field's value as [`given`] has it. Control characters are refused: nobody types them, and PostgreSQL knows no
/// text with a NUL.
pub(crate) fn plain(field: &'static str, text: &str, errors: &mut Vec<FieldError>) -> Option<String> {
    let text = given(text)?;
    if text.chars().any(char::is_control) {
        errors.push(FieldError::new(field, "bad_characters", "Leave out control characters."));
        return None;
    }
    Some(text.to_owned())
}

/// A field's value that is one of a list.
pub(crate) fn chosen<T: FromStr>(field: &'static str, text: &str, errors: &mut Vec<FieldError>) -> Option<T> {
    let text = given(text)?;
    let value = text.parse().ok();
    if value.is_none() {
        let message = format!("There is no “{text}”: choose one of the list.");
        errors.push(FieldError::new(field, "unknown", message));
    }
    value
}

/// A field's value that is a MAC address.
pub(crate) fn mac(field: &'static str, text: &str, errors: &mut Vec<FieldError>) -> Option<Mac> {
    let text = given(text)?;
    let value = text.parse().ok();
    if value.is_none() {
        let message = "Not a MAC address: write it like aa:bb:cc:dd:ee:ff.";
        errors.push(FieldError::new(field, "bad_value", message));
    }
    value
}

/// The lines of a text field that hold something.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for path in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "",
            "/a\r\nb",
        ] {
            assert_eq!(local_path(path), "/", "{path:?}");
        }
        assert_eq!(local_path("/orgs/1/events?mac=aa%3Abb"), "/orgs/1/events?mac=aa%3Abb");
    }

    #[test]
    fn messages_are_escaped() {
        let errors = Errors(vec![FieldError::new("values", "bad_value", "“<b>”: no")]);
        assert!(errors.of("values").to_string().contains("&lt;b&gt;"));
        assert_eq!(errors.of("name").to_string(), "");
        assert!(errors.attributes("values").to_string().contains(r#"aria-describedby="values-error""#));
    }

    #[test]
    fn a_control_is_described_once() {
        let errors = Errors(vec![FieldError::new("vlan", "bad_value", "no")]);
        let wrong = errors.described("vlan", "vlan-help").to_string();
        assert_eq!(wrong, r#" aria-invalid="true" aria-describedby="vlan-error vlan-help""#);
        let right = Errors::default().described("vlan", "vlan-help").to_string();
        assert_eq!(right, r#" aria-describedby="vlan-help""#);
        assert_eq!(Errors::default().attributes("vlan").to_string(), "");
    }

    #[test]
    fn what_is_given_is_plain_text() {
        let mut errors = Vec::new();
        assert_eq!(plain("user", " ada ", &mut errors).as_deref(), Some("ada"));
        assert_eq!(plain("user", "  ", &mut errors), None);
        assert_eq!(errors, []);
        for text in ["\0", "a\0b", "a\u{7f}", "a\nb"] {
            assert_eq!(plain("user", text, &mut errors), None, "{text:?}");
            assert_eq!(errors.pop().map(|error| error.field), Some("user"), "{text:?}");
        }
    }
}
