//! `$filter`: as much of OData as Graph's device collections understand.

use time::OffsetDateTime;

use crate::fleet::{Scalar, parse_timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Contains,
    StartsWith,
    /// Anything else that has the shape of a predicate.
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Predicate {
        property: String,
        operator: Operator,
        value: Literal,
    },
    /// A clause that the service ignores: true for everything.
    Ignored,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Text(String),
    Time(OffsetDateTime),
    /// A number, a GUID or a bare word.
    Bare(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            ',' => tokens.push(Token::Comma),
            '\'' => {
                let mut value = String::new();
                loop {
                    match rest.next()? {
                        // A quote inside a text is written twice.
                        '\'' if rest.peek() == Some(&'\'') => {
                            rest.next();
                            value.push('\'');
                        }
                        '\'' => break,
                        c => value.push(c),
                    }
                }
                tokens.push(Token::Text(value));
            }
            c => {
                let mut word = String::from(c);
                while let Some(c) =
                    rest.next_if(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | ',' | '\''))
                {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Some(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn word(&mut self, wanted: &str) -> bool {
        let hit =
            matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(hit);
        hit
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let hit = self.tokens.get(self.at) == Some(wanted);
        self.at += usize::from(hit);
        hit
    }

    fn any(&mut self) -> Option<Filter> {
        let mut left = self.all()?;
        while self.word("or") {
            left = Filter::Or(Box::new(left), Box::new(self.all()?));
        }
        Some(left)
    }

    fn all(&mut self) -> Option<Filter> {
        let mut left = self.one()?;
        while self.word("and") {
            left = Filter::And(Box::new(left), Box::new(self.one()?));
        }
        Some(left)
    }

    fn one(&mut self) -> Option<Filter> {
        self.depth += 1;
        if self.depth > 64 {
            return None;
        }
        if self.word("not") {
            return Some(Filter::Not(Box::new(self.one()?)));
        }
        if self.take(&Token::Open) {
            let inner = self.any()?;
            return self.take(&Token::Close).then_some(inner);
        }
        let Token::Word(name) = self.next()? else { return None };
        if self.take(&Token::Open) {
            return self.function(&name);
        }
        let Token::Word(operator) = self.next()? else { return None };
        let operator = match operator.to_ascii_lowercase().as_str() {
            "eq" => Operator::Eq,
            "ne" => Operator::Ne,
            "gt" => Operator::Gt,
            "ge" => Operator::Ge,
            "lt" => Operator::Lt,
            "le" => Operator::Le,
            "in" => {
                self.list()?;
                return Some(Filter::Predicate {
                    property: name,
                    operator: Operator::Other,
                    value: Literal::Null,
                });
            }
            _ => return None,
        };
        Some(Filter::Predicate { property: name, operator, value: self.literal()? })
    }

    fn list(&mut self) -> Option<()> {
        if !self.take(&Token::Open) {
            return None;
        }
        loop {
            self.literal()?;
            if self.take(&Token::Close) {
                return Some(());
            }
            if !self.take(&Token::Comma) {
                return None;
            }
        }
    }

    fn function(&mut self, name: &str) -> Option<Filter> {
        let Token::Word(property) = self.next()? else { return None };
        if !self.take(&Token::Comma) {
            return None;
        }
        let value = self.literal()?;
        if !self.take(&Token::Close) {
            return None;
        }
        // The OData 3 form `substringof('x', p)` does not get here: its first argument is a text.
        let operator = match name.to_ascii_lowercase().as_str() {
            "contains" => Operator::Contains,
            "startswith" => Operator::StartsWith,
            "endswith" => Operator::Other,
            _ => return None,
        };
        // `contains(p,'x') eq true` says the same.
        if self.word("eq") && !self.word("true") {
            return None;
        }
        Some(Filter::Predicate { property, operator, value })
    }

    fn literal(&mut self) -> Option<Literal> {
        Some(match self.next()? {
            Token::Text(text) => Literal::Text(text),
            Token::Word(word) => match word.as_str() {
                "null" => Literal::Null,
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                _ => parse_timestamp(&word).map_or(Literal::Bare(word), Literal::Time),
            },
            _ => return None,
        })
    }
}

impl Filter {
    /// `None` where the text is no filter expression at all.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let filter = parser.any()?;
        (parser.at == parser.tokens.len()).then_some(filter)
    }

    /// The filter with every predicate that `supported` refuses replaced by [`Filter::Ignored`], and whether
    /// there was one.
    #[must_use]
    pub fn keep(self, supported: &dyn Fn(&str, Operator) -> bool) -> (Self, bool) {
        match self {
            Self::And(left, right) => {
                let ((left, a), (right, b)) = (left.keep(supported), right.keep(supported));
                (Self::And(Box::new(left), Box::new(right)), a || b)
            }
            Self::Or(left, right) => {
                let ((left, a), (right, b)) = (left.keep(supported), right.keep(supported));
                (Self::Or(Box::new(left), Box::new(right)), a || b)
            }
            Self::Not(inner) => match inner.keep(supported) {
                (_, true) => (Self::Ignored, true),
                (inner, false) => (Self::Not(Box::new(inner)), false),
            },
            Self::Predicate { ref property, operator, .. } if !supported(property, operator) => {
                (Self::Ignored, true)
            }
            kept => (kept, false),
        }
    }

    /// Whether an item whose properties `read` yields passes.
    pub fn accepts<'a>(&self, read: &dyn Fn(&str) -> Scalar<'a>) -> bool {
        match self {
            Self::And(left, right) => left.accepts(read) && right.accepts(read),
            Self::Or(left, right) => left.accepts(read) || right.accepts(read),
            Self::Not(inner) => !inner.accepts(read),
            Self::Ignored => true,
            Self::Predicate { property, operator, value } => holds(&read(property), *operator, value),
        }
    }

    /// The value that every accepted item must have as `property`, if the filter says so at its top.
    #[must_use]
    pub fn required(&self, property: &str) -> Option<&str> {
        match self {
            Self::And(left, right) => left.required(property).or_else(|| right.required(property)),
            Self::Predicate {
                property: name,
                operator: Operator::Eq,
                value: Literal::Text(text) | Literal::Bare(text),
            } if name == property => Some(text),
            _ => None,
        }
    }
}

fn holds(actual: &Scalar<'_>, operator: Operator, wanted: &Literal) -> bool {
    use std::cmp::Ordering;
    let ordering = match (actual, wanted) {
        (Scalar::Time(actual), Literal::Time(wanted)) => Some(actual.cmp(wanted)),
        (Scalar::Time(actual), Literal::Text(wanted)) => {
            parse_timestamp(wanted).map(|wanted| actual.cmp(&wanted))
        }
        (Scalar::Bool(actual), Literal::Bool(wanted)) => Some(actual.cmp(wanted)),
        (Scalar::Int(actual), Literal::Bare(wanted)) => wanted.parse().ok().map(|wanted| actual.cmp(&wanted)),
        (Scalar::Null, Literal::Null) => Some(Ordering::Equal),
        (Scalar::Text(actual), Literal::Text(wanted) | Literal::Bare(wanted)) => {
            let (actual, wanted) = (actual.to_lowercase(), wanted.to_lowercase());
            match operator {
                Operator::Contains => return actual.contains(&wanted),
                Operator::StartsWith => return actual.starts_with(&wanted),
                _ => Some(actual.cmp(&wanted)),
            }
        }
        _ => None,
    };
    match operator {
        Operator::Eq => ordering == Some(Ordering::Equal),
        Operator::Ne => ordering != Some(Ordering::Equal),
        Operator::Gt => ordering == Some(Ordering::Greater),
        Operator::Ge => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        Operator::Lt => ordering == Some(Ordering::Less),
        Operator::Le => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Operator::Contains | Operator::StartsWith | Operator::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let read = |name: &str| match name {
            "deviceName" => Scalar::from("Ada's iPhone".to_owned()),
            "complianceState" => "noncompliant".into(),
            "lastSyncDateTime" => Scalar::Time(time::macros::datetime!(2024-07-01 0:00 UTC)),
            _ => Scalar::Null,
        };
        Filter::parse(text).unwrap().accepts(&read)
    }

    #[test]
    fn expressions_mean_what_odata_says() {
        assert!(accepts("deviceName eq 'Ada''s iPhone'"));
        assert!(accepts("complianceState eq 'compliant' or complianceState eq 'noncompliant'"));
        assert!(!accepts("complianceState eq 'noncompliant' and lastSyncDateTime gt 2024-07-02T00:00:00Z"));
        assert!(accepts(
            "(lastSyncDateTime lt 2024-07-02T00:00:00Z) and not (complianceState eq 'compliant')"
        ));
        assert!(accepts("contains(deviceName,'IPHONE')"));
        assert!(accepts("complianceState ne 'compliant'"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in
            ["", "complianceState", "complianceState eq", "eq 'x'", "a eq 'x", "a eq 'x' b", "(a eq 'x'"]
        {
            assert_eq!(Filter::parse(text), None, "{text}");
        }
    }

    #[test]
    fn unsupported_clauses_become_true() {
        let parsed = Filter::parse("wiFiMacAddress eq 'X' and complianceState eq 'compliant'").unwrap();
        let (kept, ignored) = parsed.keep(&|property, _| property == "complianceState");
        assert!(ignored);
        assert!(matches!(kept, Filter::And(left, _) if *left == Filter::Ignored));
    }
}
