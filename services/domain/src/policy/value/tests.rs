use super::*;

fn holds(form: Form, value: &str, seen: &Seen<'_>) -> bool {
    ValueMatch::parse(form, value).unwrap_or_else(|e| panic!("{value}: {e}")).holds(seen)
}

#[test]
fn versions_compare_as_numbers() {
    for (value, seen, want) in [
        (">=10.0.22631", "10.0.22631.4460", true),
        (">=10.0.22631", "10.0.9999", false),
        ("<17.5", "17.4.9", true),
        ("<17.5", "17.5.0", false),
        ("17.5", "17.5.0", true),
        ("=14", "14.5 (23F79)", false),
        ("> 14", "14.5 (23F79)", true),
        ("<=14.5", "14.5 (23F79)", true),
        ("10.0.*", "10.0.19045", true),
        ("!>=17", "16.7", true),
        (">=1", "unknown", false),
        ("!>=1", "unknown", true),
        ("<2", "", false),
    ] {
        assert_eq!(holds(Form::Version, value, &Seen::Text(seen)), want, "{value} of {seen}");
    }
    for bad in ["", ">=", "10.x", ">=10..1", "1.2*.3", ">>1", "99999999999999999999"] {
        assert!(ValueMatch::parse(Form::Version, bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_and_networks() {
    let days = Form::Number { max: 3650 };
    for (value, seen, want) in
        [(">=7", 7, true), (">7", 7, false), ("<=7", 8, false), ("7", 7, true), ("!=7", 7, false)]
    {
        assert_eq!(holds(days, value, &Seen::Number(seen)), want, "{value} of {seen}");
    }
    for bad in ["", "+7", "-1", "7.5", "3651", "> = 7"] {
        assert!(ValueMatch::parse(days, bad).is_err(), "{bad}");
    }
    for (value, seen, want) in [
        ("10.20.0.0/16", "10.20.255.1", true),
        ("10.20.0.0/16", "10.21.0.1", false),
        ("10.20.0.7/16", "10.20.255.1", true),
        ("10.20.0.7", "10.20.0.7", true),
        ("10.20.0.0/16", "::ffff:10.20.0.1", true),
        ("2001:db8::/32", "2001:db8:1::1", true),
        ("::/0", "10.0.0.1", false),
        ("!10.0.0.0/8", "192.0.2.1", true),
    ] {
        assert_eq!(
            holds(Form::Network, value, &Seen::Address(seen.parse().unwrap())),
            want,
            "{value} {seen}"
        );
    }
    for bad in ["", "10.0.0.0/33", "10.0.0", "corp", "10.0.0.*"] {
        assert!(ValueMatch::parse(Form::Network, bad).is_err(), "{bad}");
    }
}

#[test]
fn text_follows_its_case_rule() {
    let text = |case| Form::Text { case, max: 64 };
    assert!(!holds(text(Case::Exact), "Corp", &Seen::Text("corp")));
    assert!(holds(text(Case::Folded), "*.Example.COM", &Seen::Text("Laptop.example.com")));
    assert!(holds(text(Case::Hex), "00:AB:CD", &Seen::Text("abcd")));
    assert!(holds(text(Case::Hex), "abcd", &Seen::Text("00ABCD")));
    assert!(holds(text(Case::Hex), "*cd", &Seen::Text("00:AB:CD")));
    assert!(ValueMatch::parse(text(Case::Hex), "xyz").is_err());
    let roles = ["staff".to_owned(), "it".to_owned()];
    assert!(holds(text(Case::Exact), "it", &Seen::Texts(&roles)));
    assert!(!holds(text(Case::Exact), "!it", &Seen::Texts(&roles)));
    assert!(holds(text(Case::Exact), "!it", &Seen::Texts(&[])));
    assert!(holds(text(Case::Exact), "!it", &Seen::Nothing));
}
