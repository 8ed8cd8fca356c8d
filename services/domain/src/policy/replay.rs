//! Recorded decisions made again with another policy: what would change, and for whom.
//!
//! Pure, and bounded: however many decisions are pushed, it keeps the clients and groups that its limits allow, and
//! counts the rest.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::compile::CompiledPolicy;
use super::decide::{Input, evaluate, outcome};
use crate::compliance::{Compliance, assess};
use crate::decision::{MatchOutcomeName, Outcome, Posture, Reason, RuleRef};
use crate::device::{ComplianceState, DeviceFacts};
use crate::event::DecisionRecord;
use crate::request::AccessRequest;
use crate::resolver::{Match, MatchKey, Outcome as Found};
use crate::snapshot::OrgSettings;
use crate::{LinkId, RuleId};

/// With which facts a recorded decision is made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Facts {
    /// As they were.
    #[default]
    AsRecorded,
    /// As they would have been, had Intune not been reached for so many seconds before each decision.
    IntuneUnreachable { seconds: u32 },
    /// As they would have been, had every record been older than the organization's `stale_after`.
    Stale,
}

/// The facts of a recorded decision, ready to decide with.
#[derive(Clone, Debug)]
pub struct Recorded<'a> {
    request: &'a AccessRequest,
    device: Option<DeviceFacts>,
    ambiguous: bool,
    key: Option<MatchKey>,
    mac_mismatch: bool,
    compliance: Compliance,
    now: OffsetDateTime,
    lacks_posture: bool,
}

impl<'a> Recorded<'a> {
    /// Reads a record.
    #[must_use]
    pub fn of(record: &'a DecisionRecord, facts: Facts, settings: &OrgSettings) -> Self {
        let (answer, found) = (&record.answer, &record.answer.found);
        let device = (found.outcome == MatchOutcomeName::Matched)
            .then(|| device(found.link, found.device, &answer.compliance, found.posture.as_ref(), answer.at))
            .flatten();
        let mut out = Self {
            request: &record.request,
            lacks_posture: device.is_some() && found.posture.is_none(),
            device,
            ambiguous: found.outcome == MatchOutcomeName::Ambiguous,
            key: found.key,
            mac_mismatch: found.mac_mismatch,
            compliance: answer.compliance.clone(),
            now: answer.at,
        };
        let age = match facts {
            Facts::AsRecorded => return out,
            Facts::IntuneUnreachable { seconds } => Duration::seconds(seconds.into()),
            Facts::Stale => Duration::seconds(i64::from(settings.stale_after_seconds) + 1),
        };
        if let Some(device) = &mut out.device {
            device.fetched_at = device.fetched_at.min(answer.at - age);
            let found = Match {
                outcome: Found::Device(device),
                key: out.key,
                mac_mismatch: false,
                wanted: Vec::new(),
            };
            out.compliance = assess(&found, &[], settings, answer.at);
        }
        out
    }

    /// Whether the record is of a time before postures were recorded: rules that look at one cannot be tried on it.
    #[must_use]
    pub const fn lacks_posture(&self) -> bool {
        self.lacks_posture
    }

    /// Runs something on the facts: `decide`, `explain`.
    pub fn with<T>(&self, run: impl FnOnce(&Input<'_>) -> T) -> T {
        let outcome = match &self.device {
            Some(device) => Found::Device(device),
            None if self.ambiguous => Found::Ambiguous,
            None => Found::NotEnrolled,
        };
        let found = Match { outcome, key: self.key, mac_mismatch: self.mac_mismatch, wanted: Vec::new() };
        run(&Input { request: self.request, found: &found, compliance: &self.compliance, now: self.now })
    }
}

fn device(
    link: Option<LinkId>,
    id: Option<crate::DeviceId>,
    compliance: &Compliance,
    posture: Option<&Posture>,
    at: OffsetDateTime,
) -> Option<DeviceFacts> {
    let state = compliance.state.clone().unwrap_or(ComplianceState::Unknown);
    let bare = DeviceFacts::bare(link?, id?, state, compliance.fetched_at.unwrap_or(at));
    let posture = posture.cloned().unwrap_or_default();
    Some(DeviceFacts {
        os: posture.os,
        os_version: posture.os_version,
        owner: posture.owner,
        encrypted: posture.encrypted,
        jailbroken: posture.jailbroken,
        threat_state: posture.threat_state,
        category: posture.category,
        manufacturer: posture.manufacturer,
        model: posture.model,
        grace_expires_at: posture.grace_expires_at,
        last_check_in: compliance.last_check_in,
        ..bare
    })
}

/// How a replay runs.
#[derive(Clone, Debug)]
pub struct Options {
    pub facts: Facts,
    pub settings: OrgSettings,
    /// Clients beyond are counted by decision only.
    pub clients_max: usize,
    /// Groups beyond go into one.
    pub groups_max: usize,
    /// Clients named in each group.
    pub samples_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            facts: Facts::AsRecorded,
            settings: OrgSettings::default(),
            clients_max: 200_000,
            groups_max: 1_000,
            samples_max: 5,
        }
    }
}

/// What of an outcome is compared at a glance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Gets {
    pub permit: bool,
    pub vlan: Option<String>,
    pub role: Option<String>,
}

impl Gets {
    fn of(outcome: &Outcome) -> Self {
        Self { permit: outcome.permit, vlan: outcome.vlan.clone(), role: outcome.role.clone() }
    }
}

impl std::fmt::Display for Gets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.permit { "allow" } else { "deny" })?;
        if let Some(vlan) = &self.vlan {
            write!(f, ", VLAN {vlan}")?;
        }
        if let Some(role) = &self.role {
            write!(f, ", role {role}")?;
        }
        Ok(())
    }
}

/// One decision that would come out differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The client's MAC, or the session's key where it has none.
    pub client: String,
    pub user_name: Option<String>,
    pub device_name: Option<String>,
    pub before: Gets,
    pub after: Gets,
    /// `None`: no rule decided.
    pub rule_before: Option<RuleRef>,
    pub rule_after: Option<RuleRef>,
}

/// The first line of a CSV file of [`Moved::csv`].
pub const CSV_HEADER: &str = "at,client,user_name,device_name,rule_before,rule_after,action_before,action_after,vlan_before,vlan_after,role_before,role_after";

impl Moved {
    /// One line of CSV (RFC 4180), without its end. Text that a spreadsheet would run as a formula is quoted with `'`.
    #[must_use]
    pub fn csv(&self) -> String {
        let at = self.at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let name = |rule: &Option<RuleRef>| rule.as_ref().map_or_else(String::new, |rule| rule.name.clone());
        let action = |gets: &Gets| if gets.permit { "allow" } else { "deny" }.to_owned();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let fields = [
            at,
            self.client.clone(),
            text(&self.user_name),
            text(&self.device_name),
            name(&self.rule_before),
            name(&self.rule_after),
            action(&self.before),
            action(&self.after),
            text(&self.before.vlan),
            text(&self.after.vlan),
            text(&self.before.role),
            text(&self.after.role),
        ];
        let quoted = fields.map(|field| {
            let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
            format!("\"{guard}{}\"", field.replace('"', "\"\""))
        });
        quoted.join(",")
    }
}

/// Decisions that move alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub rule_before: Option<RuleRef>,
    pub rule_after: Option<RuleRef>,
    pub before: Gets,
    pub after: Gets,
    pub decisions: u64,
    /// Clients whose last decision is among them.
    pub clients: u64,
    /// Some of those clients.
    pub samples: Vec<String>,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every decision that was pushed.
    pub decisions: u64,
    pub changed: u64,
    /// Could not be made again: the stores were away then, or rules look at postures that were not recorded yet.
    pub undecidable: u64,
    /// Clients seen, as far as they were kept.
    pub clients: u64,
    /// Clients whose last decision would come out differently.
    pub clients_changed: u64,
    /// Decisions of clients beyond the limit.
    pub beyond_clients_max: u64,
    /// Changed decisions of groups beyond the limit.
    pub beyond_groups_max: u64,
    /// Largest first.
    pub groups: Vec<Group>,
}

type GroupKey = (Option<RuleId>, Option<RuleId>, Gets, Gets);

#[derive(Debug)]
struct Client {
    at: OffsetDateTime,
    /// The group of its last decision; `None` where that stays as it was.
    group: Option<usize>,
}

/// A replay that is running. Push records in any order.
#[derive(Debug)]
pub struct Replay<'p> {
    policy: &'p CompiledPolicy,
    options: Options,
    report: Report,
    index: BTreeMap<GroupKey, usize>,
    clients: HashMap<String, Client>,
}

impl<'p> Replay<'p> {
    /// Starts one.
    #[must_use]
    pub fn new(policy: &'p CompiledPolicy, options: Options) -> Self {
        let (index, clients) = (BTreeMap::new(), HashMap::new());
        Self { policy, options, report: Report::default(), index, clients }
    }

    /// What it came to so far, without the groups: for a progress display.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.report.decisions, self.report.changed)
    }

    /// What was counted so far. The clients and the order of the groups come with [`Self::finish`].
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Makes one decision again. Returns what would change.
    pub fn push(&mut self, record: &DecisionRecord) -> Option<Moved> {
        self.report.decisions += 1;
        let decision = &record.answer.decision;
        let recorded = Recorded::of(record, self.options.facts, &self.options.settings);
        let lacks = recorded.lacks_posture() && self.policy.looks_at_posture();
        let blind = matches!(decision.reason, Reason::FactsUnavailable | Reason::SiteFallback);
        if lacks || blind {
            self.report.undecidable += 1;
            return None;
        }
        let (evaluation, now_gets) = recorded.with(|input| {
            let evaluation = evaluate(Some(self.policy), input);
            (evaluation, outcome(Some(self.policy), evaluation, input.request))
        });
        let changed = now_gets != decision.outcome;
        let rule_after = || evaluation.rule.and_then(|rule| self.policy.rule(rule)).cloned();
        let moved = changed.then(|| Moved {
            at: record.answer.at,
            client: client(record),
            user_name: record.request.user_name.clone(),
            device_name: record.answer.found.device_name.clone(),
            before: Gets::of(&decision.outcome),
            after: Gets::of(&now_gets),
            rule_before: decision.rule.clone(),
            rule_after: rule_after(),
        });
        let group = moved.as_ref().and_then(|moved| self.count(moved));
        self.keep(record, group);
        moved
    }

    fn count(&mut self, moved: &Moved) -> Option<usize> {
        self.report.changed += 1;
        let id = |rule: &Option<RuleRef>| rule.as_ref().map(|rule| rule.id);
        let key = (id(&moved.rule_before), id(&moved.rule_after), moved.before.clone(), moved.after.clone());
        let group = match self.index.get(&key) {
            Some(group) => *group,
            None if self.report.groups.len() >= self.options.groups_max => {
                self.report.beyond_groups_max += 1;
                return None;
            }
            None => {
                self.report.groups.push(Group {
                    rule_before: moved.rule_before.clone(),
                    rule_after: moved.rule_after.clone(),
                    before: moved.before.clone(),
                    after: moved.after.clone(),
                    decisions: 0,
                    clients: 0,
                    samples: Vec::new(),
                });
                self.index.insert(key, self.report.groups.len() - 1);
                self.report.groups.len() - 1
            }
        };
        self.report.groups[group].decisions += 1;
        Some(group)
    }

    fn keep(&mut self, record: &DecisionRecord, group: Option<usize>) {
        let at = record.answer.at;
        let name = client(record);
        let full = self.clients.len() >= self.options.clients_max;
        match self.clients.get_mut(&name) {
            Some(client) if client.at <= at => *client = Client { at, group },
            Some(_) => {}
            None if full => self.report.beyond_clients_max += 1,
            None => {
                self.clients.insert(name, Client { at, group });
            }
        }
    }

    /// Ends it.
    #[must_use]
    pub fn finish(self) -> Report {
        let mut report = self.report;
        let mut clients: Vec<_> = self.clients.into_iter().collect();
        clients.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, client) in clients {
            report.clients += 1;
            let Some(group) = client.group else { continue };
            report.clients_changed += 1;
            let group = &mut report.groups[group];
            group.clients += 1;
            if group.samples.len() < self.options.samples_max {
                group.samples.push(name);
            }
        }
        report.groups.sort_by_key(|group| std::cmp::Reverse((group.clients, group.decisions)));
        report
    }
}

fn client(record: &DecisionRecord) -> String {
    record.request.mac.map_or_else(|| record.session_key.clone(), |mac| mac.to_string())
}

#[cfg(test)]
mod tests;
