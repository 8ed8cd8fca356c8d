//! Reading forms and showing them again.

use std::fmt;

use askama::filters::HtmlSafe;
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
        let wrong = self.0.iter().any(|e| e.field == field);
        Attributes(wrong.then(|| field.to_owned()))
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

/// `aria-invalid` and `aria-describedby`, or nothing.
pub(crate) struct Attributes(Option<String>);

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(field) => write!(f, r#" aria-invalid="true" aria-describedby="{}-error""#, escape(field)),
            None => Ok(()),
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
}
