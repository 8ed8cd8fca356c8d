//! Which rules can decide at all.

use super::set::{Region, Set};
use super::space::Space;
use super::{Code, Finding, Severity};
use crate::policy::model::PolicyDoc;

/// Beyond so many pieces, a rule is taken to be reachable.
const PIECES_MAX: usize = 256;

/// What each rule matches.
pub struct Map {
    pub space: Space,
    /// By rule. Enabled or not.
    pub regions: Vec<Region>,
}

impl Map {
    pub fn of(doc: &PolicyDoc) -> Self {
        let space = Space::of(doc);
        let regions = doc.rules.iter().map(|rule| {
            let mut region = Region::default();
            for (dim, set, _) in space.side(&rule.matching, doc) {
                region.restrict(dim, &set);
            }
            for (dim, set, _) in space.side(&rule.not_matching, doc) {
                region.restrict(dim, &space.whole(dim).without(&set));
            }
            region
        });
        let regions = regions.collect();
        Self { space, regions }
    }

    /// What a rule matches, without cells that no client is in.
    pub fn tight(&self, rule: usize) -> Region {
        let mut region = self.regions[rule].clone();
        self.space.tighten(&mut region);
        region
    }
}

/// Finds the rules that never decide.
pub fn rules(doc: &PolicyDoc, map: &Map, out: &mut Vec<Finding>) {
    for (index, rule) in doc.rules.iter().enumerate() {
        let region = map.tight(index);
        if region.is_empty() {
            if rule.labels().all(|id| doc.label(id).is_some()) {
                out.push(contradiction(doc, map, index));
            }
            continue;
        }
        if !rule.enabled {
            continue;
        }
        match covered(doc, map, index, region) {
            None => {}
            Some(by) if by.len() == 1 => {
                let shadow = &doc.rules[by[0]].name;
                let message = format!(
                    "Rule “{}” never decides: rule “{shadow}” matches all of its clients before it.",
                    rule.name
                );
                out.push(Finding::new(Code::ShadowedRule, message).rule(doc, index).others(doc, &by));
            }
            Some(by) => {
                let names: Vec<_> = by.iter().map(|i| format!("“{}”", doc.rules[*i].name)).collect();
                let message = format!(
                    "Rule “{}” never decides: rules {} together match all of its clients before it.",
                    rule.name,
                    names.join(", ")
                );
                out.push(Finding::new(Code::UnreachableRule, message).rule(doc, index).others(doc, &by));
            }
        }
    }
}

/// The earlier rules that take all of a rule's clients, if they do.
pub fn covered(doc: &PolicyDoc, map: &Map, index: usize, region: Region) -> Option<Vec<usize>> {
    let earlier = || (0..index).filter(|i| doc.rules[*i].enforced());
    if let Some(shadow) = earlier().find(|i| region.is_within(&map.regions[*i])) {
        return Some(vec![shadow]);
    }
    let mut by = Vec::new();
    let mut left = vec![region];
    for i in earlier() {
        let mut next = Vec::new();
        let mut taken = false;
        for piece in left {
            match piece.minus(&map.regions[i], |dim| map.space.whole(dim)) {
                None => next.push(piece),
                Some(pieces) => {
                    taken = true;
                    next.extend(pieces.into_iter().filter_map(|mut piece| {
                        map.space.tighten(&mut piece);
                        (!piece.is_empty()).then_some(piece)
                    }));
                }
            }
        }
        if taken {
            by.push(i);
        }
        if next.is_empty() {
            return Some(by);
        }
        if next.len() > PIECES_MAX {
            return None;
        }
        left = next;
    }
    None
}

/// Names the conditions that exclude each other.
fn contradiction(doc: &PolicyDoc, map: &Map, index: usize) -> Finding {
    let rule = &doc.rules[index];
    let mut sides = map.space.side(&rule.matching, doc);
    let not = map.space.side(&rule.not_matching, doc).into_iter();
    sides.extend(not.map(|(dim, set, label)| (dim, map.space.whole(dim).without(&set), label)));
    // The conditions without which the rule could match.
    let could_match_without = |skip: usize| {
        let mut region = Region::default();
        for (at, (dim, set, _)) in sides.iter().enumerate() {
            if at != skip {
                region.restrict(*dim, set);
            }
        }
        map.space.tighten(&mut region);
        !region.is_empty()
    };
    let to_blame: Vec<&(usize, Set, _)> =
        sides.iter().enumerate().filter(|(at, _)| could_match_without(*at)).map(|(_, side)| side).collect();
    let labels: Vec<_> =
        to_blame.iter().filter_map(|(_, _, label)| *label).filter_map(|id| doc.label(id)).collect();
    let names: Vec<_> = labels.iter().map(|label| format!("“{}”", label.name)).collect();
    let which = match names.as_slice() {
        [] => "its conditions exclude each other".to_owned(),
        [one] => format!("{one} and its other conditions exclude each other"),
        several => format!("{} exclude each other", several.join(" and ")),
    };
    let message = format!("Rule “{}” can never match: {which}.", rule.name);
    let mut finding = Finding::new(Code::ContradictoryRule, message).rule(doc, index);
    if !rule.enforced() {
        finding.severity = Severity::Warning;
    }
    labels.into_iter().fold(finding, Finding::label)
}
