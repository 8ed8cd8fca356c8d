//! The editor: every kind of label, every way to move a rule, the draft from its first edit to a rollback.

use domain::policy::edit::Edit;
use domain::policy::keys::KEYS;
use domain::policy::{Action, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Row, UsernameAttr};
use domain::{LabelId, OrgId};

use crate::world::{Browser, Page, World};

async fn draft(world: &World, org: OrgId) -> (i64, PolicyDoc) {
    let mut tx = world.store.org(org).await.unwrap();
    let row = store::policies::draft(&mut tx).await.unwrap();
    (row.revision, row.doc)
}

async fn send(browser: &Browser, path: &str, fields: &[(&str, &str)], revision: i64) -> Page {
    let revision = revision.to_string();
    let mut form = vec![("revision", revision.as_str())];
    form.extend_from_slice(fields);
    browser.post(path, &form).await
}

/// Saves the form of a label's own page as it stands, as a browser would.
async fn save_again(browser: &Browser, path: &str) -> Page {
    let page = browser.get(path).await;
    page.is(200);
    let form = page.body.split("id=\"label-form\"").nth(1).unwrap().split("</form>").next().unwrap();
    let mut fields = Vec::new();
    let unescape = |text: &str| {
        let mut text = text.to_owned();
        for (from, to) in [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")] {
            text = text.replace(from, to);
        }
        text
    };
    let attribute = |tag: &str, name: &str| {
        let start = format!(" {name}=\"");
        tag.split(&start).nth(1).map(|rest| unescape(rest.split('"').next().unwrap()))
    };
    for tag in form.split('<').filter(|tag| tag.starts_with("input")) {
        let tag = tag.split('>').next().unwrap();
        let Some(name) = attribute(tag, "name") else { continue };
        let checkable = tag.contains("checkbox") || tag.contains("radio");
        if !checkable || tag.contains(" checked") {
            fields.push((name, attribute(tag, "value").unwrap_or_else(|| "on".to_owned())));
        }
    }
    for area in form.split("<textarea").skip(1) {
        let (tag, rest) = area.split_once('>').unwrap();
        let text = unescape(rest.split("</textarea>").next().unwrap());
        fields.push((attribute(tag, "name").unwrap(), text.trim_start_matches('\n').to_owned()));
    }
    let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    browser.post(path, &fields).await
}

#[tokio::test]
async fn every_kind_of_label_goes_through_its_form_and_back() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let at = |rest: &str| format!("/orgs/{org}/{rest}");
    let page = browser.get(&at("labels/new")).await;
    page.has("<optgroup label=\"Device posture\">").has("<optgroup label=\"Results\">");
    let is = |key, values: &[&str], match_all| LabelKind::Match {
        key,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        match_all,
    };
    let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let mut kinds: Vec<LabelKind> =
        KEYS.iter().map(|spec| is(spec.key, &spec.examples[..1], false)).collect();
    kinds.extend([
        is(MatchLabelKey::MdmStatus, &["!compliant", "!in-grace-period"], true),
        is(MatchLabelKey::MdmStatus, &["!compliant", "stale"], false),
        is(MatchLabelKey::Ssid, &["Corp*", "!*guest*"], true),
        is(MatchLabelKey::UserName, &["<script>alert(1)</script>*", "a\"b"], false),
        LabelKind::Vlan { vlan: "10".into() },
        LabelKind::RadiusGroup { radius_group: "staff & <guests>".into() },
        LabelKind::SessionTimeout { session_timeout: 28_800 },
        LabelKind::EgressVlanNames { egress_vlan_names: texts(&["1voice", "2data"]) },
        LabelKind::GbpTag { gbp_tag: 100 },
        LabelKind::UsernameAttr { username_attr: UsernameAttr::Email },
        LabelKind::RadiusAttrs { radius_attrs: texts(&["Idle-Timeout=600", "Tunnel-Preference:1=3"]) },
        LabelKind::RadiusVendorAttrs { radius_vendor_attrs: texts(&["Aruba-User-Role=guest"]) },
        LabelKind::RedirectUrl { redirect_url: "https://portal.example.com/fix?why=x".into() },
        LabelKind::RedirectUrl { redirect_url: "gatehouse".into() },
    ]);
    let labels: Vec<_> = (1..)
        .zip(kinds)
        .map(|(n, kind)| Label { id: LabelId(uuid::Uuid::from_u128(n)), name: format!("Label {n}"), kind })
        .collect();
    let policies = policy::Policies::new(world.store.clone(), world.clock.clone(), world.ids.clone());
    let actor = store::audit::Actor { account: None, name: "Test".into() };
    let doc = PolicyDoc { labels, ..PolicyDoc::default() };
    policies.edit(org, &actor, 1, Edit::Replace(doc.clone())).await.unwrap();
    for label in &doc.labels {
        let page = save_again(&browser, &at(&format!("labels/{}", label.id))).await;
        assert_eq!(page.redirect(), at("labels"), "{label:?}");
        assert_eq!(draft(&world, org).await.1.label(label.id), Some(label));
    }
    let page = browser.get(&at("labels")).await;
    page.has("&#60;script&#62;alert(1)&#60;/script&#62;*").has("staff &#38; &#60;guests&#62;");
    assert!(!page.body.contains("<script>alert"));
}

#[tokio::test]
async fn each_kind_tells_what_is_wrong_beside_its_field() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let path = format!("/orgs/{org}/labels");
    let cases = [
        ("gbp_tag", "gbp_tag", "65536", "Give a tag from 1 to 65535"),
        ("match_gbp_tag", "text", ">=70000", "id=\"values-error\""),
        ("session_timeout", "session_timeout", "ten", "from 60"),
        ("egress_vlan_names", "egress_vlan_names", "voice", "1name (tagged)"),
        ("username_attr", "username_attr", "nickname", "is not one of the names"),
        ("radius_attrs", "radius_attrs", "Idle-Timeot=6", "did you mean Idle-Timeout?"),
        ("radius_attrs", "radius_attrs", "Aruba-User-Role=x", "radius_vendor_attrs"),
        ("radius_vendor_attrs", "radius_vendor_attrs", "Cisco-AV-Pair=x", "did you mean"),
        ("redirect_url", "redirect_url", "javascript:alert(1)", "Give a whole address"),
        ("vlan", "vlan", "5000", "1 to 4094"),
        ("radius_group", "radius_group", "a%b", "without %"),
        ("os_version", "text", ">=a.b", "id=\"values-error\""),
        ("nas_ip", "text", "10.0.0.0/33", "id=\"values-error\""),
        ("client_mac", "text", "<b>", "&lt;b&gt;"),
        ("encrypted", "values", "perhaps", "perhaps"),
    ];
    for (kind, field, typed, wanted) in cases {
        let page = send(&browser, &path, &[("kind", kind), ("name", "L"), (field, typed)], 1).await;
        page.is(422).has(wanted).has("aria-invalid=\"true\"");
        let shown = typed.replace('<', "&#60;").replace('>', "&#62;");
        assert!(page.body.contains(&shown), "{kind}: {typed} is not kept");
    }
    assert_eq!(draft(&world, org).await.0, 1);
    // An attribute beside the lines is one more line.
    let fields = [
        ("kind", "radius_vendor_attrs"),
        ("name", "Aruba"),
        ("radius_vendor_attrs", "Aruba-User-Role=guest"),
        ("attribute", "Aruba-User-Vlan"),
        ("attribute_value", "7"),
    ];
    browser
        .get(&format!("{path}/new?kind=radius_vendor_attrs"))
        .await
        .has("<option value=\"Aruba-User-Vlan\">");
    send(&browser, &path, &fields, 1).await.redirect();
    let LabelKind::RadiusVendorAttrs { radius_vendor_attrs } =
        draft(&world, org).await.1.labels[0].kind.clone()
    else {
        panic!()
    };
    assert_eq!(radius_vendor_attrs, ["Aruba-User-Role=guest", "Aruba-User-Vlan=7"]);
}

#[tokio::test]
async fn labels_are_found_by_name_value_type_and_use() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let names = async |query: &str| -> Vec<String> {
        let page = browser.get(&format!("/orgs/{}/labels?{query}", tenant.org)).await;
        page.is(200);
        page.body
            .split("<th scope=\"row\">")
            .skip(1)
            .map(|row| row.split("\">").nth(1).unwrap().split("</a>").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("q=QUARANTINE").await, ["Quarantine VLAN"]);
    assert_eq!(names("type=session_timeout").await, ["Working day"]);
    let unused = names("used=no").await;
    assert!(
        !unused.contains(&"Corp VLAN".to_owned())
            && names("used=yes").await.contains(&"Corp VLAN".to_owned())
    );
    assert!(names("q=nothing+like+it").await.is_empty());
}

fn shape(doc: &PolicyDoc) -> Vec<String> {
    let name = |row: &Row<'_>| match row {
        Row::Section(section) => format!("[{}]", section.name),
        Row::Rule { rule, .. } => rule.name.clone(),
    };
    doc.rows().iter().map(name).collect()
}

#[tokio::test]
async fn rows_move_by_button_and_by_place_and_sections_with_them() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let (now, doc) = draft(&world, tenant.org).await;
    let before = shape(&doc);
    let first = doc.rules[0].id.to_string();

    // A section, by its form.
    browser.get(&at("auth-policies/sections/new")).await.has("before rule 3");
    let hostile = "Guests <b>&amp;";
    let fields = [("name", hostile), ("row", "3")];
    send(&browser, &at("auth-policies/sections"), &fields, now).await.redirect();
    let (now, doc) = draft(&world, tenant.org).await;
    assert_eq!(shape(&doc)[2], format!("[{hostile}]"));
    let again = send(&browser, &at("auth-policies/sections"), &[("name", "guests <B>&AMP;")], now).await;
    again.is(422).has("Another section has this name").has("value=\"guests &#60;B&#62;");

    // A row's buttons: the focus comes back to the button.
    let page =
        send(&browser, &at("auth-policies/move"), &[("rule", &first), ("to", "2"), ("by", "down")], now)
            .await;
    let to = page.redirect();
    assert_eq!(to, at("auth-policies?row=2&by=down"));
    let page = browser.get(&to).await;
    page.has("is moved to row 2 of").has("id=\"announce\"").has("Guests &#60;b&#62;&#38;amp;");
    let button = page.body.split("id=\"down-2\"").nth(1).unwrap().split('>').next().unwrap();
    assert!(button.contains("autofocus"), "{button}");
    let (now, doc) = draft(&world, tenant.org).await;
    assert_eq!((&shape(&doc)[0], &shape(&doc)[1]), (&before[1], &before[0]));

    // The separator itself moves, as the drag sends it; what is between changes its section.
    let fields = [("section", hostile), ("to", "1")];
    send(&browser, &at("auth-policies/move"), &fields, now).await.redirect();
    let (now, doc) = draft(&world, tenant.org).await;
    assert_eq!(doc.section_of(0).unwrap().name, hostile);

    // The place among the rules, typed.
    let act = at(&format!("auth-policies/rules/{first}/act"));
    send(&browser, &act, &[("to", "4")], now).await.redirect();
    let (now, doc) = draft(&world, tenant.org).await;
    assert_eq!(doc.rules[3].id.to_string(), first);

    // A move on an old revision says what happened, and can be made all the same.
    let page = send(&browser, &at("auth-policies/move"), &[("rule", &first), ("to", "2")], now - 1).await;
    page.is(409).has("Do it all the same").has("moved the rule").has(&format!("value=\"{first}\""));
    send(&browser, &at("auth-policies/move"), &[("rule", &first), ("section", "x"), ("to", "2")], now)
        .await
        .is(404);

    // Renamed, then deleted: its rules stay.
    let fields = [("section", hostile), ("name", "Visitors")];
    send(&browser, &at("auth-policies/sections"), &fields, now).await.redirect();
    browser.get(&at("auth-policies/sections/edit?name=Visitors")).await.is(200);
    browser.get(&at("auth-policies/sections/edit?name=Nobody")).await.is(404);
    let fields = [("section", "Visitors"), ("name", "Visitors"), ("act", "delete")];
    send(&browser, &at("auth-policies/sections"), &fields, now + 1).await.redirect();
    let (_, doc) = draft(&world, tenant.org).await;
    assert!(doc.sections.is_empty());
    assert_eq!(doc.rules.len(), before.len());
}

#[tokio::test]
async fn a_rule_keeps_its_comment_its_trial_and_all_its_results() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let (now, _) = draft(&world, tenant.org).await;
    for (n, (kind, field, value)) in
        (0..).zip([("gbp_tag", "gbp_tag", "7"), ("radius_attrs", "radius_attrs", "Idle-Timeout=600")])
    {
        let fields = [("kind", kind), ("name", kind), (field, value)];
        send(&browser, &at("labels"), &fields, now + n).await.redirect();
    }
    let (now, doc) = draft(&world, tenant.org).await;
    let id = |name: &str| doc.labels.iter().find(|l| l.name == name).unwrap().id.to_string();
    let (tag, attrs) = (id("gbp_tag"), id("radius_attrs"));
    let fields = [
        ("name", "On trial"),
        ("action", "allow"),
        ("enabled", "on"),
        ("dry_run", "on"),
        ("comment", "first line\r\nsecond <line>"),
        ("m_port", "wired"),
        ("apply_gbp_tag", tag.as_str()),
        ("apply", attrs.as_str()),
    ];
    send(&browser, &at("auth-policies/rules"), &fields, now).await.redirect();
    let (now, doc) = draft(&world, tenant.org).await;
    let rule = doc.rules.last().unwrap().clone();
    assert!(rule.dry_run && rule.action == Action::Allow && rule.apply.len() == 2);
    assert_eq!(rule.comment, "first line\nsecond <line>");
    browser.get(&at("auth-policies")).await.has("dry run").has("second &#60;line&#62;");
    browser
        .get(&at(&format!("auth-policies/rules/{}", rule.id)))
        .await
        .has("second &#60;line&#62;</textarea>");
    // Found by its comment, and by what its labels say.
    let page = browser.get(&at("auth-policies?q=SECOND")).await;
    page.has("1 of 5 rules").has("On trial").has("Implicit deny");
    browser.get(&at("auth-policies?q=idle-timeout")).await.has("1 of 5 rules");
    browser
        .get(&at("auth-policies?q=%3Cscript%3E"))
        .await
        .has("0 of 5 rules")
        .has("value=\"&#60;script&#62;\"");
    let act = at(&format!("auth-policies/rules/{}/act", rule.id));
    send(&browser, &act, &[("act", "enforce")], now).await.redirect();
    assert!(!draft(&world, tenant.org).await.1.rule(rule.id).unwrap().dry_run);
}

#[tokio::test]
async fn control_characters_of_vendors_are_refused_beside_them() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let (now, _) = draft(&world, tenant.org).await;
    let path = format!("/orgs/{}/auth-policies/rules", tenant.org);
    for field in ["m_vendor", "n_vendor"] {
        let fields = [("name", "x"), ("action", "block"), (field, "aruba, jun\0iper")];
        let page = send(&browser, &path, &fields, now).await;
        page.is(422).has("Leave control characters out of the vendors.");
    }
    let fields = [("name", "x"), ("action", "block"), ("m_vendor", "aruba, juniper")];
    send(&browser, &path, &fields, now).await.redirect();
}

#[tokio::test]
async fn errors_block_publishing_and_the_draft_says_what_changes() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 20, 20).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let policies = policy::Policies::new(world.store.clone(), world.clock.clone(), world.ids.clone());
    let actor = store::audit::Actor { account: None, name: "Bob".into() };
    // The fixture leaves a change in its draft: begin with what is live.
    let page = browser.get(&at("auth-policies/discard")).await;
    page.has("Discard the draft?");
    browser.post(&at("auth-policies/discard"), &[("revision", &page.hidden("revision"))]).await.redirect();
    let (now, doc) = draft(&world, tenant.org).await;

    // A contradiction: compliant and not compliant at once.
    let ids: Vec<_> = ["compliant", "non-compliant"]
        .iter()
        .map(|word| Label {
            id: world.ids.make(world.now()),
            name: format!("Exactly {word}"),
            kind: LabelKind::Match {
                key: MatchLabelKey::MdmStatus,
                values: vec![(*word).to_owned()],
                match_all: false,
            },
        })
        .collect();
    let mut broken = doc.clone();
    let rule = broken.rules.iter_mut().find(|rule| rule.enabled).unwrap();
    rule.matching =
        Conditions { labels: ids.iter().map(|label| label.id).collect(), ..Conditions::default() };
    rule.name = "Impossible <i>".to_owned();
    let id = rule.id;
    broken.labels.extend(ids);
    policies.edit(tenant.org, &actor, now, Edit::Replace(broken)).await.unwrap();
    let page = browser.get(&at("auth-policies/publish")).await;
    page.has("keeps the draft from being published")
        .has("contradictory_rule")
        .has(&format!("href=\"{}\"", at(&format!("auth-policies/rules/{id}"))))
        .has("id=\"confirm\" disabled")
        .has("matching: labels")
        .has("Impossible &#60;i&#62;");
    let publish = at("auth-policies/publish");
    send(&browser, &publish, &[], now + 1).await.is(422).has("blocked");
    browser.get(&at("auth-policies")).await.has("1 error</a>");

    // Mended by going back in part: a rule goes, and the draft shows it where it stood.
    let mut mended = doc.clone();
    let gone = mended.rules.remove(0);
    policies.edit(tenant.org, &actor, now + 1, Edit::Replace(mended)).await.unwrap();
    let page = browser.get(&publish).await;
    page.has("id=\"would-move\"").has("removed");
    assert!(page.body.contains(&gone.name));
    send(&browser, &publish, &[], now + 2).await.redirect();
    browser.get(&at("auth-policies")).await.has("Version 3</a> is live");

    // The old one against what is live, and back to it.
    let page = browser.get(&at("auth-policies/versions/2?against=live")).await;
    page.has("added").has("As published");
    let back = at("auth-policies/versions/2/roll-back");
    let page = browser.get(&back).await;
    page.has("Roll back to version 2?");
    let (live, revision) = (page.hidden("live"), page.hidden("revision"));
    browser.post(&back, &[("live", &live), ("revision", &revision)]).await.redirect();
    assert_eq!(draft(&world, tenant.org).await.1, doc);
}

#[tokio::test]
async fn a_conflict_shows_what_happened_and_what_saving_would_do() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let (now, doc) = draft(&world, tenant.org).await;
    let policies = policy::Policies::new(world.store.clone(), world.clock.clone(), world.ids.clone());
    let bob = store::audit::Actor { account: None, name: "Bob <b>".into() };
    let mut label = doc.labels.iter().find(|l| l.name == "Corp VLAN").unwrap().clone();
    label.kind = LabelKind::Vlan { vlan: "20".into() };
    let id = label.id;
    policies.edit(tenant.org, &bob, now, Edit::PutLabel(label)).await.unwrap();
    let path = at(&format!("labels/{id}"));
    let page = send(&browser, &path, &[("kind", "vlan"), ("name", "Corp VLAN"), ("vlan", "30")], now).await;
    page.is(409)
        .has("Bob &#60;b&#62; changed the draft while you were typing")
        .has("changed the label “Corp VLAN”")
        .has("30 instead of 20")
        .has("value=\"30\"");
    let fields = [("kind", "vlan"), ("name", "Corp VLAN"), ("vlan", "30")];
    send(&browser, &path, &fields, page.hidden("revision").parse().unwrap()).await.redirect();
    let kind = draft(&world, tenant.org).await.1.label(id).unwrap().kind.clone();
    assert_eq!(kind, LabelKind::Vlan { vlan: "30".into() });
}
