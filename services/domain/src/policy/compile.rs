//! A published document, prepared once so that deciding is one pass over ready-made matchers.
//!
//! Each label, and each list of sites or vendors, is compiled once however many rules name it, and looked at once per
//! decision. What a rule says of methods and ports becomes one mask each, tried before anything else.

use std::collections::HashMap;

use crate::decision::{Outcome, RuleRef};
use crate::policy::decide::Input;
use crate::policy::model::{
    Action, AuthMatch, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, UsernameAttr,
};
use crate::policy::value::{Case, Glob, Pattern, Seen, ValueMatch, auth_holds, fold, mac_number};
use crate::radius::check::{Kind, parse};
use crate::request::{AuthType, PortType};
use crate::{LabelId, SiteId};

/// A policy, ready to decide.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    version: i32,
    pub(super) rules: Vec<CompiledRule>,
    /// The rules that can decide, in order.
    pub(super) active: Vec<ActiveRule>,
    /// Their terms, one rule's behind the other's.
    pub(super) terms: Vec<Term>,
    pub(super) tests: Vec<Test>,
    looks_at_posture: bool,
}

/// What the engine runs over.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveRule {
    /// Bits by [`auth_state`] that the rule lets through.
    pub auth: u16,
    /// Bits by [`port_state`] that the rule lets through.
    pub ports: u8,
    /// Its place in `rules`.
    pub rule: u32,
    pub terms: (u32, u32),
}

/// A test, and what its answer must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub test: u32,
    pub wanted: bool,
}

/// A condition, shared by the rules that name it.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Label(CompiledLabel),
    Sites(Vec<SiteId>),
    /// Lower case.
    Vendors(Vec<String>),
}

#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    pub rule: RuleRef,
    pub enabled: bool,
    pub dry_run: bool,
    pub action: Action,
    pub matching: CompiledConditions,
    pub not_matching: CompiledConditions,
    pub outcome: Outcome,
    pub user_name: Option<UsernameAttr>,
    /// Masks and terms, also of rules that cannot decide: the trace shows how they fared.
    pub gate: ActiveRule,
}

/// One side of a rule, for the trace.
#[derive(Clone, Debug, Default)]
pub(super) struct CompiledConditions {
    pub auth_types: Vec<AuthMatch>,
    /// Bits by [`auth_state`] in which one of them holds.
    pub auth: u16,
    pub port_types: Vec<PortType>,
    /// Bits by [`port_state`] in which one of them holds.
    pub ports: u8,
    pub sites: Option<u32>,
    pub vendors: Option<u32>,
    pub labels: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct CompiledLabel {
    pub id: LabelId,
    pub name: String,
    /// `None` where the label is not there, or is no match label: it holds for nobody.
    pub key: Option<MatchLabelKey>,
    pub wanted: Vec<String>,
    pub all: bool,
    values: Vec<ValueMatch>,
    /// The exact values of a long OR-ed list, sorted, taken out of `values`.
    texts: Vec<Box<str>>,
    macs: Vec<u64>,
}

/// Lists longer than this are searched instead of walked.
const LONG: usize = 8;

impl CompiledPolicy {
    /// Compiles a document. Total: a document that was never checked compiles too, and what cannot be understood
    /// in it matches nothing (see `draft::check`, which refuses such a document before it is saved).
    #[must_use]
    pub fn compile(version: i32, doc: &PolicyDoc) -> Self {
        let mut compiler = Compiler {
            labels: doc.labels.iter().map(|label| (label.id, label)).collect(),
            tests: Vec::new(),
            by_label: HashMap::new(),
            by_sites: HashMap::new(),
            by_vendors: HashMap::new(),
            terms: Vec::new(),
        };
        let rules: Vec<_> = doc
            .rules
            .iter()
            .zip(0u32..)
            .map(|(rule, index)| {
                let matching = compiler.conditions(&rule.matching);
                let not_matching = compiler.conditions(&rule.not_matching);
                let gate = compiler.gate(index, &matching, &not_matching);
                let (outcome, user_name) = compiler.outcome(rule.action, &rule.apply);
                CompiledRule {
                    rule: RuleRef { id: rule.id, name: rule.name.clone(), position: index + 1 },
                    enabled: rule.enabled,
                    dry_run: rule.dry_run,
                    action: rule.action,
                    matching,
                    not_matching,
                    outcome,
                    user_name,
                    gate,
                }
            })
            .collect();
        let active =
            rules.iter().filter(|rule| rule.enabled && !rule.dry_run).map(|rule| rule.gate).collect();
        let looks_at_posture = compiler.tests.iter().any(|test| match test {
            Test::Label(label) => {
                label.key.is_some_and(|key| key.spec().group == crate::policy::keys::Group::Posture)
            }
            Test::Sites(_) | Test::Vendors(_) => false,
        });
        Self { version, rules, active, terms: compiler.terms, tests: compiler.tests, looks_at_posture }
    }

    /// The published version that this was compiled from.
    #[must_use]
    pub const fn version(&self) -> i32 {
        self.version
    }

    /// Whether any rule looks at a key of device posture.
    #[must_use]
    pub const fn looks_at_posture(&self) -> bool {
        self.looks_at_posture
    }

    /// The rule at a place counted from 0, as [`super::decide::Evaluation::rule`] counts.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<&RuleRef> {
        self.rules.get(index).map(|rule| &rule.rule)
    }
}

struct Compiler<'a> {
    labels: HashMap<LabelId, &'a Label>,
    tests: Vec<Test>,
    by_label: HashMap<LabelId, u32>,
    by_sites: HashMap<Vec<SiteId>, u32>,
    by_vendors: HashMap<Vec<String>, u32>,
    terms: Vec<Term>,
}

impl Compiler<'_> {
    fn conditions(&mut self, conditions: &Conditions) -> CompiledConditions {
        let mut sites = conditions.site_ids.clone();
        sites.sort_unstable();
        let mut vendors: Vec<_> = conditions.vendors.iter().map(|v| v.trim().to_lowercase()).collect();
        vendors.sort_unstable();
        CompiledConditions {
            auth_types: conditions.auth_types.clone(),
            auth: auth_mask(&conditions.auth_types),
            port_types: conditions.port_types.clone(),
            ports: port_mask(&conditions.port_types),
            sites: (!sites.is_empty()).then(|| {
                *self
                    .by_sites
                    .entry(sites.clone())
                    .or_insert_with(|| push(&mut self.tests, Test::Sites(sites)))
            }),
            vendors: (!vendors.is_empty()).then(|| {
                let test = Test::Vendors(vendors.clone());
                *self.by_vendors.entry(vendors).or_insert_with(|| push(&mut self.tests, test))
            }),
            labels: conditions.labels.iter().map(|id| self.label(*id)).collect(),
        }
    }

    fn label(&mut self, id: LabelId) -> u32 {
        if let Some(test) = self.by_label.get(&id) {
            return *test;
        }
        let label = CompiledLabel::compile(id, self.labels.get(&id).copied());
        let test = push(&mut self.tests, Test::Label(label));
        self.by_label.insert(id, test);
        test
    }

    fn gate(&mut self, rule: u32, yes: &CompiledConditions, no: &CompiledConditions) -> ActiveRule {
        let (mut auth, mut ports) = (u16::MAX, u8::MAX);
        if !yes.auth_types.is_empty() {
            auth &= yes.auth;
        }
        auth &= !no.auth;
        if !yes.port_types.is_empty() {
            ports &= yes.ports;
        }
        ports &= !no.ports;
        let start = index(self.terms.len());
        for (side, wanted) in [(yes, true), (no, false)] {
            let tests = side.sites.iter().chain(&side.vendors).chain(&side.labels);
            self.terms.extend(tests.map(|test| Term { test: *test, wanted }));
        }
        ActiveRule { auth, ports, rule, terms: (start, index(self.terms.len())) }
    }

    fn outcome(&self, action: Action, apply: &[LabelId]) -> (Outcome, Option<UsernameAttr>) {
        let mut outcome = Outcome::DENY;
        let mut user_name = None;
        if action == Action::Block {
            return (outcome, user_name);
        }
        outcome.permit = true;
        let mut standard = Vec::new();
        for label in apply.iter().filter_map(|id| self.labels.get(id)) {
            match &label.kind {
                LabelKind::Match { .. } => {}
                LabelKind::Vlan { vlan } => outcome.vlan = Some(vlan.clone()),
                LabelKind::RadiusGroup { radius_group } => outcome.role = Some(radius_group.clone()),
                LabelKind::SessionTimeout { session_timeout } => {
                    outcome.session_timeout = Some(*session_timeout);
                }
                LabelKind::EgressVlanNames { egress_vlan_names } => {
                    outcome.egress_vlan_names.clone_from(egress_vlan_names);
                }
                LabelKind::GbpTag { gbp_tag } => outcome.gbp_tag = Some(*gbp_tag),
                LabelKind::UsernameAttr { username_attr } => user_name = Some(*username_attr),
                LabelKind::RedirectUrl { redirect_url } => {
                    outcome.redirect_url = Some(redirect_url.clone().into());
                }
                LabelKind::RadiusAttrs { radius_attrs } => {
                    standard.extend(radius_attrs.iter().filter_map(|text| parse(Kind::Standard, text).ok()));
                }
                LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => {
                    let parsed = radius_vendor_attrs.iter().filter_map(|text| parse(Kind::Vendor, text).ok());
                    outcome.attrs.extend(parsed);
                }
            }
        }
        outcome.attrs.splice(0..0, standard);
        (outcome, user_name)
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn push(tests: &mut Vec<Test>, test: Test) -> u32 {
    tests.push(test);
    index(tests.len() - 1)
}

/// Which of the sixteen states of method and certificate a request is in.
pub(super) fn auth_state(method: Option<AuthType>, certificate: bool) -> u32 {
    method.map_or(0, |method| method as u32 + 1) * 2 + u32::from(certificate)
}

/// The states in which any of these holds.
pub(super) fn auth_mask(wanted: &[AuthMatch]) -> u16 {
    let mut mask = 0;
    for method in AuthType::ALL {
        for certificate in [false, true] {
            if wanted.iter().any(|wanted| auth_holds(*wanted, *method, certificate)) {
                mask |= 1 << auth_state(Some(*method), certificate);
            }
        }
    }
    mask
}

/// Which of the four states of port type a request is in.
pub(super) fn port_state(port: Option<PortType>) -> u32 {
    port.map_or(0, |port| port as u32 + 1)
}

/// The states in which any of these holds.
pub(super) fn port_mask(wanted: &[PortType]) -> u8 {
    wanted.iter().fold(0, |mask, port| mask | 1 << port_state(Some(*port)))
}

impl Test {
    pub(super) fn holds(&self, input: &Input<'_>) -> bool {
        match self {
            Self::Label(label) => label.holds(input),
            Self::Sites(sites) => sites.binary_search(&input.request.site).is_ok(),
            Self::Vendors(vendors) => input.request.nas.vendor.as_deref().is_some_and(|vendor| {
                let vendor = fold(Case::Folded, vendor);
                vendors.binary_search_by(|wanted| wanted.as_str().cmp(&vendor)).is_ok()
            }),
        }
    }
}

impl CompiledLabel {
    pub(super) fn compile(id: LabelId, label: Option<&Label>) -> Self {
        let Some(Label { name, kind: LabelKind::Match { key, values, match_all }, .. }) = label else {
            return Self {
                id,
                name: label.map_or_else(|| "(missing label)".to_owned(), |label| label.name.clone()),
                key: None,
                wanted: Vec::new(),
                all: false,
                values: Vec::new(),
                texts: Vec::new(),
                macs: Vec::new(),
            };
        };
        let form = key.spec().form;
        let mut compiled: Vec<_> = values.iter().map(|value| ValueMatch::compile(form, value)).collect();
        let (mut texts, mut macs) = (Vec::new(), Vec::new());
        if !match_all && compiled.len() > LONG {
            compiled.retain(|value| match &value.what {
                Pattern::Text(_, Glob::Exact(text)) if !value.negated => {
                    texts.push(text.clone());
                    false
                }
                Pattern::Mac { digits, count: 12 } if !value.negated => {
                    macs.push(*digits);
                    false
                }
                _ => true,
            });
            texts.sort_unstable();
            macs.sort_unstable();
        }
        Self {
            id,
            name: name.clone(),
            key: Some(*key),
            wanted: values.clone(),
            all: *match_all,
            values: compiled,
            texts,
            macs,
        }
    }

    pub(super) fn holds(&self, input: &Input<'_>) -> bool {
        let Some(key) = self.key else { return false };
        let spec = key.spec();
        let seen = spec.see(input);
        if self.all {
            return !self.values.is_empty() && self.values.iter().all(|value| value.holds(&seen));
        }
        let case = match spec.form {
            super::value::Form::Text { case, .. } => case,
            _ => Case::Folded,
        };
        let listed = |text: &str| {
            let text = fold(case, text);
            self.texts.binary_search_by(|wanted| (**wanted).cmp(&text)).is_ok()
        };
        let in_list = match &seen {
            Seen::Mac(mac) => self.macs.binary_search(&mac_number(*mac)).is_ok(),
            _ if self.texts.is_empty() => false,
            Seen::Text(text) => listed(text),
            Seen::Texts(texts) => texts.iter().any(|text| listed(text)),
            Seen::Sans(_) => seen.words().iter().any(|text| listed(text)),
            _ => false,
        };
        in_list || self.values.iter().any(|value| value.holds(&seen))
    }
}
