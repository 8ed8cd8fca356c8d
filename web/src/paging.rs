//! Lists in pages: one row more than is shown is asked for, so that it is known whether there is a next page.

/// Rows of a page.
pub(crate) const PAGE: usize = 50;
/// Rows to ask for.
pub(crate) const ASKED: i64 = 51;

/// Cuts what was asked for to a page. Where there is more, says where the page ended.
pub(crate) fn cut<T, C>(rows: &mut Vec<T>, cursor: impl FnOnce(&T) -> C) -> Option<C> {
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    rows.last().filter(|_| more).map(cursor)
}

/// An address with what is searched for, already encoded, and where its page begins.
pub(crate) fn address(base: &str, query: String, name: &str, cursor: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(query);
    format!("{base}?{}", query.append_pair(name, cursor).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_the_next_begins() {
        assert_eq!(usize::try_from(ASKED).unwrap(), PAGE + 1);
        let mut rows: Vec<usize> = (0..PAGE).collect();
        assert_eq!(cut(&mut rows, |row| *row), None);
        rows.push(PAGE);
        assert_eq!(cut(&mut rows, |row| *row), Some(PAGE - 1));
        assert_eq!(rows.len(), PAGE);
        assert_eq!(address("/x", "a=1".to_owned(), "before", "2 3"), "/x?a=1&before=2+3");
    }
}
