//! What clients can look like, cut into cells so that each condition of a document holds on whole cells.
//!
//! Every client falls into exactly one cell of each dimension, and a condition holds of it exactly if its cell is in
//! the condition's set. Some cells have no client: reasoning that finds every cell covered is sound all the same.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::compliance::Literal;
use crate::policy::compile::{auth_mask, port_mask};
use crate::policy::keys::Group;
use crate::policy::model::{Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc};
use crate::policy::value::{Compare, Form, Glob, Pattern, Seen, ValueMatch};
use crate::request::AuthType;
use crate::resolver::MatchStrength;
use crate::{LabelId, SiteId};

use super::set::{Region, Set};

/// Method and presented certificate, as `compile::auth_state` counts them.
pub const AUTH: usize = 0;
/// Port type, as `compile::port_state` counts them.
pub const PORT: usize = 1;
/// What is known of the device: its literals, and how it was found.
pub const DEVICE: usize = 2;
const SITE: usize = 3;
const VENDOR: usize = 4;

/// More subsets of patterns than this are not told apart.
const FREE_MAX: usize = 8;
/// More patterns of one key than this are not told apart.
const ATOMS_MAX: usize = 4_096;

/// The states of [`crate::compliance::assess`], and whether a device matched in them.
pub const STATES: [(&[Literal], bool); 14] = {
    use Literal::{
        Ambiguous, Compliant, ConfigManager, Conflict, Error, InGracePeriod, NonCompliant, NotEnrolled,
        NotEvaluated, Other, Stale, Unknown, Unlinked,
    };
    [
        (&[Compliant], true),
        (&[Compliant, InGracePeriod], true),
        (&[NonCompliant], true),
        (&[NonCompliant, InGracePeriod], true),
        (&[NonCompliant, Stale], true),
        (&[Unknown, NotEvaluated], true),
        (&[Unknown, Error], true),
        (&[Unknown, Conflict], true),
        (&[Unknown, ConfigManager], true),
        (&[Unknown, Other], true),
        (&[Unknown, Stale], true),
        (&[Unknown, NotEnrolled], false),
        (&[Unknown, Ambiguous], false),
        (&[Unknown, Unlinked], false),
    ]
};

/// The cells of [`DEVICE`]: literals, and strength where a device matched.
pub fn device_cells() -> Vec<(&'static [Literal], Option<MatchStrength>)> {
    let mut out = Vec::new();
    for (literals, matched) in STATES {
        if matched {
            out.extend(MatchStrength::ALL.iter().map(|strength| (literals, Some(*strength))));
        } else {
            out.push((literals, None));
        }
    }
    out
}

/// One dimension that values of a key (or one label) span.
#[derive(Debug)]
struct Dim {
    atoms: HashMap<Pattern, usize>,
    /// Which atoms hold on each cell. The first cell is where none holds, and what is absent is in it.
    cells: Vec<Set>,
}

/// The dimensions of a document.
#[derive(Debug)]
pub struct Space {
    sizes: Vec<usize>,
    groups: Vec<Option<Group>>,
    keys: HashMap<MatchLabelKey, (usize, Dim)>,
    /// Labels whose key has too many patterns to tell apart: each is a dimension of its own.
    labels: HashMap<LabelId, usize>,
    sites: HashMap<SiteId, usize>,
    vendors: HashMap<String, usize>,
    device: Vec<(&'static [Literal], Option<MatchStrength>)>,
}

impl Space {
    pub fn of(doc: &PolicyDoc) -> Self {
        let device = device_cells();
        let sides = || doc.rules.iter().flat_map(|rule| [&rule.matching, &rule.not_matching]);
        let mut sites = HashMap::new();
        let mut vendors = HashMap::new();
        for side in sides() {
            for site in &side.site_ids {
                let next = sites.len();
                sites.entry(*site).or_insert(next);
            }
            for vendor in &side.vendors {
                let next = vendors.len();
                vendors.entry(vendor.trim().to_lowercase()).or_insert(next);
            }
        }
        // The last cell of sites and vendors is any other.
        let sizes = vec![16, 4, device.len(), sites.len() + 1, vendors.len() + 1];
        let groups = vec![None; sizes.len()];
        let mut space =
            Self { sizes, groups, keys: HashMap::new(), labels: HashMap::new(), sites, vendors, device };
        let mut patterns: HashMap<MatchLabelKey, Vec<Pattern>> = HashMap::new();
        for (_, key, values, _) in doc.labels.iter().filter_map(as_match) {
            let parsed = values.iter().map(|value| ValueMatch::compile(key.spec().form, value).what);
            patterns.entry(key).or_default().extend(parsed.filter(|pattern| *pattern != Pattern::Never));
        }
        for key in MatchLabelKey::ALL {
            let Some(patterns) = patterns.remove(key) else { continue };
            if matches!(key.spec().form, Form::Auth | Form::Compliance | Form::Strength) {
                continue;
            }
            if let Some(dim) = Dim::of(*key, patterns) {
                let at = space.add(dim.cells.len(), key.spec().group);
                space.keys.insert(*key, (at, dim));
            }
        }
        for (id, key, ..) in doc.labels.iter().filter_map(as_match) {
            let special = matches!(key.spec().form, Form::Auth | Form::Compliance | Form::Strength);
            if !special && !space.keys.contains_key(&key) {
                let at = space.add(2, Group::Client);
                space.labels.insert(id, at);
            }
        }
        space
    }

    fn add(&mut self, size: usize, group: Group) -> usize {
        self.sizes.push(size);
        self.groups.push(Some(group));
        self.sizes.len() - 1
    }

    /// Every cell of a dimension.
    pub fn whole(&self, dim: usize) -> Set {
        Set::of(self.sizes[dim], |_| true)
    }

    /// The cells on which a label holds.
    pub fn label(&self, label: &Label) -> Option<(usize, Set)> {
        let (id, key, values, all) = as_match(label)?;
        if let Some(dim) = self.labels.get(&id) {
            return Some((*dim, Set::of(2, |cell| cell == 1)));
        }
        let values: Vec<_> = values.iter().map(|value| ValueMatch::compile(key.spec().form, value)).collect();
        let holds = |holds: &dyn Fn(&Pattern) -> bool| {
            let one =
                |value: &ValueMatch| value.what != Pattern::Never && holds(&value.what) != value.negated;
            !values.is_empty() && if all { values.iter().all(one) } else { values.iter().any(one) }
        };
        Some(match key.spec().form {
            Form::Auth => {
                let set = Set::of(16, |cell| {
                    holds(&|pattern| match pattern {
                        Pattern::Auth(wanted) => auth_mask(&[*wanted]) >> cell & 1 == 1,
                        _ => false,
                    })
                });
                (AUTH, set)
            }
            Form::Compliance | Form::Strength => {
                let set = Set::of(self.device.len(), |cell| {
                    let (literals, strength) = self.device[cell];
                    let strength = strength.map_or(Seen::Nothing, Seen::Strength);
                    holds(&|pattern| pattern.holds(&Seen::Literals(literals)) || pattern.holds(&strength))
                });
                (DEVICE, set)
            }
            _ => {
                let (at, dim) = self.keys.get(&key)?;
                let set = Set::of(dim.cells.len(), |cell| {
                    holds(&|pattern| {
                        dim.atoms.get(pattern).is_some_and(|atom| dim.cells[cell].contains(*atom))
                    })
                });
                (*at, set)
            }
        })
    }

    /// The cells of the conditions of one side, each with the label that it is of.
    pub fn side(&self, side: &Conditions, doc: &PolicyDoc) -> Vec<(usize, Set, Option<LabelId>)> {
        let mut out = Vec::new();
        if !side.auth_types.is_empty() {
            let mask = auth_mask(&side.auth_types);
            out.push((AUTH, Set::of(16, |cell| mask >> cell & 1 == 1), None));
        }
        if !side.port_types.is_empty() {
            let mask = port_mask(&side.port_types);
            out.push((PORT, Set::of(4, |cell| mask >> cell & 1 == 1), None));
        }
        if !side.site_ids.is_empty() {
            let set = Set::of(self.sizes[SITE], |cell| {
                side.site_ids.iter().any(|id| self.sites.get(id) == Some(&cell))
            });
            out.push((SITE, set, None));
        }
        if !side.vendors.is_empty() {
            let set = Set::of(self.sizes[VENDOR], |cell| {
                side.vendors.iter().any(|v| self.vendors.get(&v.trim().to_lowercase()) == Some(&cell))
            });
            out.push((VENDOR, set, None));
        }
        for id in &side.labels {
            match doc.label(*id).and_then(|label| self.label(label)) {
                Some((dim, set)) => out.push((dim, set, Some(*id))),
                // What is missing holds for nobody.
                None => out.push((AUTH, Set::of(16, |_| false), Some(*id))),
            }
        }
        out
    }

    /// Leaves out cells that no client can be in: a certificate's names without a certificate, EAP-TLS without one
    /// (the engine denies it before the rules), a device's posture without a device, and a device's absence with it.
    pub fn tighten(&self, region: &mut Region) {
        let bare_tls = (AuthType::EapTls as usize + 1) * 2;
        region.restrict(AUTH, &Set::of(16, |cell| cell != bare_tls));
        let demands = |region: &Region, group: Group| {
            let mut sides = region.sides();
            sides.any(|(dim, set)| self.groups[dim] == Some(group) && self.sizes[dim] > 1 && !set.contains(0))
        };
        if demands(region, Group::Posture) {
            region.restrict(DEVICE, &Set::of(self.device.len(), |cell| self.device[cell].1.is_some()));
        }
        if demands(region, Group::Certificate) {
            region.restrict(AUTH, &Set::of(16, |cell| cell % 2 == 1));
        }
        let device = region.side(DEVICE);
        let no_device = device.is_some_and(|set| {
            (0..self.device.len()).all(|c| !set.contains(c) || self.device[c].1.is_none())
        });
        let no_cert = region.side(AUTH).is_some_and(|set| (0..16).all(|c| !set.contains(c) || c % 2 == 0));
        for (dim, group) in self.groups.iter().enumerate() {
            let absent = match group {
                Some(Group::Posture) => no_device,
                Some(Group::Certificate) => no_cert,
                _ => false,
            };
            if absent {
                region.restrict(dim, &Set::of(self.sizes[dim], |cell| cell == 0));
            }
        }
    }
}

/// A match label's parts.
pub fn as_match(label: &Label) -> Option<(LabelId, MatchLabelKey, &[String], bool)> {
    match &label.kind {
        LabelKind::Match { key, values, match_all } => Some((label.id, *key, values, *match_all)),
        _ => None,
    }
}

impl Dim {
    /// `None` where the patterns are too many to tell apart.
    fn of(key: MatchLabelKey, patterns: Vec<Pattern>) -> Option<Self> {
        let mut atoms = HashMap::new();
        let mut list = Vec::new();
        for pattern in patterns {
            if !atoms.contains_key(&pattern) {
                atoms.insert(pattern.clone(), list.len());
                list.push(pattern);
            }
        }
        if list.len() > ATOMS_MAX {
            return None;
        }
        let many = matches!(
            key,
            MatchLabelKey::CertSan
                | MatchLabelKey::CertEku
                | MatchLabelKey::IdpRole
                | MatchLabelKey::UsermacLabel
        );
        let mut cells = vec![Set::of(list.len(), |_| false)];
        cells.extend(match key.spec().form {
            Form::Text { .. } if many => free(&list, &list)?,
            Form::Text { .. } => texts(&list)?,
            Form::Version if list.iter().any(|p| matches!(p, Pattern::Text(..))) => return None,
            Form::Version => versions(&list),
            Form::Number { .. } => numbers(&list),
            // Each value is a cell; prefixes and networks lie within each other or apart.
            _ => list.iter().map(|cell| Set::of(list.len(), |atom| implies(cell, &list[atom]))).collect(),
        });
        Some(Self { atoms, cells })
    }
}

/// Whether whatever the one pattern holds of, the other holds of too. May say no where it is so.
fn implies(one: &Pattern, other: &Pattern) -> bool {
    match (one, other) {
        (Pattern::Text(_, a), Pattern::Text(_, b)) => glob_implies(a, b),
        (Pattern::Mac { digits: a, count: n }, Pattern::Mac { digits: b, count: m }) => {
            n >= m && a >> (4 * (n - m)) == *b
        }
        (Pattern::Network(a), Pattern::Network(b)) => {
            a.prefix() >= b.prefix() && a.is_ipv4() == b.is_ipv4() && b.contains(a.network())
        }
        _ => one == other,
    }
}

fn glob_implies(one: &Glob, other: &Glob) -> bool {
    match (one, other) {
        (Glob::Exact(text), glob) => glob.matches(text),
        (Glob::Prefix(a), Glob::Prefix(b)) => a.starts_with(&**b),
        (Glob::Suffix(a), Glob::Suffix(b)) => a.ends_with(&**b),
        (glob, Glob::Contains(b)) => glob.core().contains(&**b),
        _ => false,
    }
}

fn exclude(one: &Pattern, other: &Pattern) -> bool {
    match (one, other) {
        (Pattern::Text(_, Glob::Prefix(a)), Pattern::Text(_, Glob::Prefix(b))) => {
            !a.starts_with(&**b) && !b.starts_with(&**a)
        }
        (Pattern::Text(_, Glob::Suffix(a)), Pattern::Text(_, Glob::Suffix(b))) => {
            !a.ends_with(&**b) && !b.ends_with(&**a)
        }
        _ => false,
    }
}

/// One text at a time: each exact text is a cell, and so is each combination of globs that other text may meet.
fn texts(list: &[Pattern]) -> Option<Vec<Set>> {
    let exact = |pattern: &&Pattern| matches!(pattern, Pattern::Text(_, Glob::Exact(_)));
    let mut cells: Vec<_> = list
        .iter()
        .filter(exact)
        .map(|cell| Set::of(list.len(), |atom| implies(cell, &list[atom])))
        .collect();
    let globs: Vec<_> = list.iter().filter(|pattern| !exact(pattern)).cloned().collect();
    if globs.iter().all(|glob| matches!(glob, Pattern::Text(_, Glob::Prefix(_)))) {
        cells.extend(globs.iter().map(|cell| Set::of(list.len(), |atom| implies(cell, &list[atom]))));
    } else {
        let mut combined = free(&globs, list)?;
        combined.retain(|cell| {
            let held: Vec<_> = globs
                .iter()
                .filter(|g| list.iter().position(|p| p == *g).is_some_and(|i| cell.contains(i)))
                .collect();
            !held.iter().any(|a| held.iter().any(|b| exclude(a, b)))
        });
        cells.extend(combined);
    }
    Some(cells)
}

/// Every combination of patterns that does not contradict what they imply of each other, but the empty one.
fn free(patterns: &[Pattern], list: &[Pattern]) -> Option<Vec<Set>> {
    if patterns.len() > FREE_MAX {
        return None;
    }
    let possible = |bits: usize| {
        let held = |i: usize| bits >> i & 1 == 1;
        (0..patterns.len())
            .all(|a| !held(a) || (0..patterns.len()).all(|b| held(b) || !implies(&patterns[a], &patterns[b])))
    };
    let cells = (1..1usize << patterns.len()).filter(|bits| possible(*bits)).map(|bits| {
        Set::of(list.len(), |atom| {
            patterns.iter().position(|p| *p == list[atom]).is_some_and(|i| bits >> i & 1 == 1)
        })
    });
    Some(cells.collect())
}

fn numbers(list: &[Pattern]) -> Vec<Set> {
    let mut points: Vec<u32> = vec![0];
    for pattern in list {
        if let Pattern::Number(_, wanted) = pattern {
            points.extend([*wanted, wanted.saturating_add(1)]);
        }
    }
    points.sort_unstable();
    points.dedup();
    // From one point up to the next, every comparison reads the same.
    points.iter().map(|n| Set::of(list.len(), |atom| list[atom].holds(&Seen::Number(*n)))).collect()
}

fn versions(list: &[Pattern]) -> Vec<Set> {
    let wanted = |atom: usize| match &list[atom] {
        Pattern::Version(compare, version) => Some((*compare, version)),
        _ => None,
    };
    let mut points: Vec<_> = (0..list.len()).filter_map(wanted).map(|(_, version)| version).collect();
    points.sort();
    points.dedup();
    let cell = |place: usize, between: bool| {
        Set::of(list.len(), |atom| {
            wanted(atom).is_some_and(|(compare, version): (Compare, _)| {
                let own = points.partition_point(|p| *p < version);
                // What lies between two points is above the first and below the second.
                compare.holds(match between {
                    true if place > own => Ordering::Greater,
                    true => Ordering::Less,
                    false => place.cmp(&own),
                })
            })
        })
    };
    let mut cells: Vec<_> = (0..points.len()).map(|place| cell(place, false)).collect();
    cells.extend((0..=points.len()).map(|place| cell(place, true)));
    cells
}
