//! One value of a match label: how it is written, and when it holds.
//!
//! - A leading `!` negates. What is absent equals nothing: a plain value does not hold, a negated one does.
//! - Text: exact, `x*` (begins with), `*x` (ends with), `*x*` (contains).
//! - Where a client has several values at once (SANs, key usages, roles), a plain value holds if any of them is it,
//!   a negated one if none is.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::Mac;
use crate::compliance::Literal;
use crate::mac::hex_digits;
use crate::policy::model::AuthMatch;
use crate::request::{AuthType, Certificate};
use crate::resolver::MatchStrength;

/// How text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    /// As it is written.
    Exact,
    /// Without regard to case: names of the DNS, and words of Microsoft's.
    Folded,
    /// Hexadecimal digits, without regard to case, separators and leading zeros.
    Hex,
}

/// How the values of a key are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of the MDM compliance literals.
    Compliance,
    /// One of the authentication methods, `cert` or `idp`.
    Auth,
    /// `certificate`, `name` or `mac`.
    Strength,
    /// One of a closed list of words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// Text of at most so many bytes, with `*` at its ends.
    Text { case: Case, max: usize },
    /// A whole MAC address, or how it begins.
    Mac,
    /// An address or a network in CIDR notation, IPv4 or IPv6.
    Network,
    /// A whole number up to a maximum, alone or behind `>=`, `>`, `<=`, `<` or `=`.
    Number { max: u32 },
    /// Numbers between dots, alone or behind a comparison; or text with `*` at its ends.
    Version,
}

/// What is there to compare with.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    Nothing,
    Literals(&'a [Literal]),
    Method {
        method: AuthType,
        certificate: bool,
    },
    Strength(MatchStrength),
    Flag(bool),
    Text(&'a str),
    Texts(&'a [String]),
    /// Every subject alternative name, of any kind.
    Sans(&'a Certificate),
    Mac(Mac),
    Address(IpAddr),
    Number(u32),
}

impl Seen<'_> {
    /// In words, for the trace; empty where nothing was there.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Literals(literals) => literals.iter().map(ToString::to_string).collect(),
            Self::Method { method, .. } => vec![method.to_string()],
            Self::Strength(strength) => vec![strength.to_string()],
            Self::Flag(flag) => vec![flag.to_string()],
            Self::Text(text) => vec![(*text).to_owned()],
            Self::Texts(texts) => texts.to_vec(),
            Self::Sans(cert) => sans(cert).map(str::to_owned).collect(),
            Self::Mac(mac) => vec![mac.to_string()],
            Self::Address(address) => vec![address.to_string()],
            Self::Number(number) => vec![number.to_string()],
        }
    }
}

fn sans(cert: &Certificate) -> impl Iterator<Item = &str> {
    let Certificate { san_uri, san_dns, san_upn, san_email, .. } = cert;
    [san_uri, san_dns, san_upn, san_email].into_iter().flatten().map(String::as_str)
}

/// A value, ready to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueMatch {
    pub negated: bool,
    pub what: Pattern,
}

/// What a value says, apart from its negation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    Compliance(Literal),
    Auth(AuthMatch),
    Strength(MatchStrength),
    Word(&'static str),
    Flag(bool),
    Text(Case, Glob),
    /// The first digits of an address, and how many they are (1 to 12).
    Mac {
        digits: u64,
        count: u8,
    },
    Network(IpNetwork),
    Number(Compare, u32),
    Version(Compare, Version),
    /// Was never checked, and means nothing: it does not hold, negated or not.
    Never,
}

/// Text with `*` at its ends, folded as its case rule says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Glob {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
}

impl Glob {
    /// Whether folded text is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => text == &**want,
            Self::Prefix(want) => text.starts_with(&**want),
            Self::Suffix(want) => text.ends_with(&**want),
            Self::Contains(want) => text.contains(&**want),
        }
    }

    /// The text without its `*`.
    #[must_use]
    pub const fn core(&self) -> &str {
        let (Self::Exact(core) | Self::Prefix(core) | Self::Suffix(core) | Self::Contains(core)) = self;
        core
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Compare {
    fn split(text: &str) -> (Option<Self>, &str) {
        for (sign, compare) in [
            (">=", Self::AtLeast),
            ("<=", Self::AtMost),
            (">", Self::Greater),
            ("<", Self::Less),
            ("=", Self::Equal),
        ] {
            if let Some(rest) = text.strip_prefix(sign) {
                return (Some(compare), rest.trim_start());
            }
        }
        (None, text)
    }

    /// Whether it holds where the client's value stands so to the wanted one.
    #[must_use]
    pub const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

/// Numbers between dots, without trailing zeros: `17.5` and `17.5.0` are one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Vec<u64>);

impl Version {
    /// Reads the numbers that a text begins with: `14.5 (23F79)` is 14.5. `None` where it begins with none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts: Vec<u64> = parts(text)?.collect();
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(Self(parts))
    }

    /// How a text, read as a version, stands to this one.
    #[must_use]
    pub fn compared_with(&self, text: &str) -> Option<Ordering> {
        let mut seen = parts(text)?;
        let mut wanted = self.0.iter().copied();
        loop {
            match (seen.next(), wanted.next()) {
                (None, None) => return Some(Ordering::Equal),
                (a, b) => match a.unwrap_or(0).cmp(&b.unwrap_or(0)) {
                    Ordering::Equal => {}
                    unequal => return Some(unequal),
                },
            }
        }
    }
}

fn parts(text: &str) -> Option<impl Iterator<Item = u64>> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let numbers = &text[..end];
    numbers.starts_with(|c: char| c.is_ascii_digit()).then(|| {
        numbers.split('.').take_while(|part| !part.is_empty()).map(|part| part.parse().unwrap_or(u64::MAX))
    })
}

/// Takes a leading `!` off a value.
#[must_use]
pub fn split_negation(value: &str) -> (bool, &str) {
    let value = value.trim();
    match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, value),
    }
}

impl ValueMatch {
    /// Reads a value. The error says what to write instead.
    pub fn parse(form: Form, value: &str) -> Result<Self, String> {
        let (negated, text) = split_negation(value);
        Ok(Self { negated, what: Pattern::parse(form, text)? })
    }

    /// Reads a value that may never have been checked: what cannot be understood matches nothing.
    #[must_use]
    pub fn compile(form: Form, value: &str) -> Self {
        Self::parse(form, value).unwrap_or(Self { negated: false, what: Pattern::Never })
    }

    /// Whether the value holds.
    #[must_use]
    pub fn holds(&self, seen: &Seen<'_>) -> bool {
        self.what != Pattern::Never && self.what.holds(seen) != self.negated
    }
}

impl Pattern {
    fn parse(form: Form, text: &str) -> Result<Self, String> {
        let word = |e: crate::request::UnknownWord| e.to_string();
        match form {
            Form::Compliance => text.parse().map(Self::Compliance).map_err(word),
            Form::Auth => text.parse().map(Self::Auth).map_err(word),
            Form::Strength => text.parse().map(Self::Strength).map_err(word),
            Form::Word(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Self::Word(word))
                .ok_or_else(|| format!("use one of {}", words.join(", "))),
            Form::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" => Ok(Self::Flag(true)),
                "false" | "no" => Ok(Self::Flag(false)),
                _ => Err("use true or false".to_owned()),
            },
            Form::Text { case, max } => glob(case, max, text).map(|glob| Self::Text(case, glob)),
            Form::Mac => mac(text),
            Form::Network => network(text),
            Form::Number { max } => {
                let (compare, rest) = Compare::split(text);
                match rest.parse::<u32>() {
                    Ok(number) if number <= max && rest.bytes().all(|b| b.is_ascii_digit()) => {
                        Ok(Self::Number(compare.unwrap_or(Compare::Equal), number))
                    }
                    _ => Err(format!(
                        "write a whole number from 0 to {max}, alone or behind >=, >, <=, < or ="
                    )),
                }
            }
            Form::Version if text.contains('*') => {
                glob(Case::Folded, 64, text).map(|glob| Self::Text(Case::Folded, glob))
            }
            Form::Version => {
                let (compare, rest) = Compare::split(text);
                let whole = !rest.is_empty()
                    && rest.split('.').all(|part| (1..=18).contains(&part.len()))
                    && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                match Version::read(rest).filter(|_| whole) {
                    Some(version) => Ok(Self::Version(compare.unwrap_or(Compare::Equal), version)),
                    None => {
                        Err("write numbers between dots, alone or behind >=, >, <=, < or =, for example \
                                 >=10.0.22631"
                            .to_owned())
                    }
                }
            }
        }
    }

    /// Whether it holds of what is there.
    #[must_use]
    pub fn holds(&self, seen: &Seen<'_>) -> bool {
        match (self, seen) {
            (Self::Compliance(wanted), Seen::Literals(literals)) => literals.contains(wanted),
            (Self::Auth(wanted), Seen::Method { method, certificate }) => {
                auth_holds(*wanted, *method, *certificate)
            }
            (Self::Strength(wanted), Seen::Strength(strength)) => wanted == strength,
            (Self::Word(wanted), Seen::Text(text)) => wanted.eq_ignore_ascii_case(text),
            (Self::Flag(wanted), Seen::Flag(flag)) => wanted == flag,
            (Self::Text(case, glob), Seen::Text(text)) => glob.matches(&fold(*case, text)),
            (Self::Text(case, glob), Seen::Texts(texts)) => {
                texts.iter().any(|text| glob.matches(&fold(*case, text)))
            }
            (Self::Text(case, glob), Seen::Sans(cert)) => {
                sans(cert).any(|text| glob.matches(&fold(*case, text)))
            }
            (Self::Mac { digits, count }, Seen::Mac(mac)) => mac_number(*mac) >> (48 - 4 * count) == *digits,
            (Self::Network(network), Seen::Address(address)) => network.contains(address.to_canonical()),
            (Self::Number(compare, wanted), Seen::Number(number)) => compare.holds(number.cmp(wanted)),
            (Self::Version(compare, wanted), Seen::Text(text)) => {
                wanted.compared_with(text).is_some_and(|ordering| compare.holds(ordering))
            }
            _ => false,
        }
    }
}

/// Text as its case rule compares it. Borrowed where it is written so already.
#[must_use]
pub fn fold(case: Case, text: &str) -> Cow<'_, str> {
    match case {
        Case::Exact => Cow::Borrowed(text),
        Case::Folded if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) => Cow::Borrowed(text),
        Case::Folded => Cow::Owned(text.to_lowercase()),
        Case::Hex => {
            let digits = text.trim_start_matches("0x").trim_start_matches(['0', ':']);
            if digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Cow::Borrowed(digits);
            }
            let digits: String = digits.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).collect();
            Cow::Owned(digits.to_ascii_lowercase())
        }
    }
}

fn glob(case: Case, max: usize, text: &str) -> Result<Glob, String> {
    let core = text.trim_matches('*');
    if core.is_empty() {
        return Err("write some text; * stands for any text, but only beside some".to_owned());
    }
    if core.contains('*') {
        return Err("* can stand only at the start or the end".to_owned());
    }
    if core.len() > max {
        return Err(format!("use {max} bytes at most"));
    }
    if core.chars().any(char::is_control) {
        return Err("leave out control characters".to_owned());
    }
    let (starts, ends) = (text.starts_with('*'), text.ends_with('*'));
    let core: Box<str> = match case {
        Case::Hex => {
            let bare: String = core.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).collect();
            let bare = bare.to_ascii_lowercase();
            if !bare.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err("write hexadecimal digits".to_owned());
            }
            // Leading zeros say nothing in a number, unless something stands before them.
            let digits = if starts { &*bare } else { bare.trim_start_matches('0') };
            if digits.is_empty() && (starts || ends) {
                return Err("write a digit other than 0 beside the *".to_owned());
            }
            digits.into()
        }
        Case::Exact | Case::Folded => fold(case, core).into(),
    };
    Ok(match (starts, ends) {
        (true, true) => Glob::Contains(core),
        (true, false) => Glob::Suffix(core),
        (false, true) => Glob::Prefix(core),
        (false, false) => Glob::Exact(core),
    })
}

fn mac(text: &str) -> Result<Pattern, String> {
    let (digits, prefix) = match text.strip_suffix('*') {
        Some(rest) => (hex_digits(rest), true),
        None => (hex_digits(text), false),
    };
    let problem = "write a whole MAC address (aa:bb:cc:dd:ee:ff) or how it begins (aabbcc*)";
    let digits = digits.filter(|d| d.len() == 12 || (prefix && !d.is_empty())).ok_or(problem)?;
    let number = u64::from_str_radix(&digits, 16).map_err(|_| problem)?;
    let count = u8::try_from(digits.len()).map_err(|_| problem)?;
    Ok(Pattern::Mac { digits: number, count })
}

pub(super) fn mac_number(mac: Mac) -> u64 {
    mac.0.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn network(text: &str) -> Result<Pattern, String> {
    let network: IpNetwork = text
        .parse()
        .map_err(|_| "write an address or a network, for example 10.20.0.0/16 or 2001:db8::/32".to_owned())?;
    // Addresses that carry IPv4 inside IPv6 are compared as IPv4; a network of them is meant so too.
    let ip = network.network().to_canonical();
    let prefix = match (network, ip) {
        (IpNetwork::V6(v6), IpAddr::V4(_)) if v6.prefix() < 96 => return Ok(Pattern::Network(network)),
        (IpNetwork::V6(v6), IpAddr::V4(_)) => v6.prefix() - 96,
        _ => network.prefix(),
    };
    IpNetwork::new(ip, prefix).map(Pattern::Network).map_err(|e| e.to_string())
}

/// Whether a condition on the method holds.
pub(super) fn auth_holds(wanted: AuthMatch, method: AuthType, presented_certificate: bool) -> bool {
    match wanted {
        AuthMatch::Exactly(exactly) => exactly == method,
        AuthMatch::Cert => presented_certificate || method == AuthType::EapTls,
        AuthMatch::Idp => matches!(method, AuthType::EapTtls | AuthType::EapPeap) && !presented_certificate,
    }
}

#[cfg(test)]
mod tests;
