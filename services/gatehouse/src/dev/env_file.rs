//! `.data/demo.env`: how to reach what runs, for shells and scripts.

use std::fmt::Write as _;
use std::path::Path;

/// The text of the file. Values are quoted where a shell would not take them as they are.
#[must_use]
pub fn render(settings: &[(&str, String)]) -> String {
    settings.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}={}", quote(value));
        text
    })
}

/// What the file says, as far as it is of the form that [`render`] writes.
#[must_use]
pub fn read(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let unquote = |value: &str| {
        let inside = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        inside.map_or_else(|| value.to_owned(), |inside| inside.replace(r"'\''", "'"))
    };
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquote(value)))
        .collect()
}

fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_written() {
        let dir = std::env::temp_dir().join(format!("gatehouse-env-{}", std::process::id()));
        let settings =
            [("A", "http://h:1/x?a=b&c".to_owned()), ("B", "it's".to_owned()), ("C", "ghe_a-b_c".to_owned())];
        let text = render(&settings);
        std::fs::write(&dir, &text).unwrap();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(". {}; printf '%s\\n' \"$A\" \"$B\" \"$C\"", dir.display()))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "http://h:1/x?a=b&c\nit's\nghe_a-b_c\n");
        assert_eq!(read(&dir)[1], ("B".to_owned(), "it's".to_owned()));
        std::fs::remove_file(&dir).unwrap();
    }
}
