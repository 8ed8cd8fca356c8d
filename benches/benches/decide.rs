//! Nanoseconds per decision at 10, 100 and 1000 rules, where the last rule decides; and Cedar on the same rules.
//!
//! Cedar knows no order of rules: the rules here exclude each other, so that both give the same answer. It evaluates
//! all of them, as its semantics ask; the engine stops at the first that matches, which is the last one here.

use std::str::FromStr;

use benches::{NOW, device, facts, policy, request};
use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use divan::{Bencher, black_box};
use domain::policy::CompiledPolicy;
use domain::policy::decide::{Input, decide, evaluate};

const RULES: &[u32] = &[10, 100, 1000];

fn main() {
    divan::main();
}

fn ours<T>(bencher: Bencher, rules: u32, run: impl Fn(&CompiledPolicy, &Input<'_>) -> T + Sync) {
    let compiled = CompiledPolicy::compile(1, &policy(rules, 0));
    let (device, request) = (device(), request(rules));
    let (found, compliance) = facts(&device);
    let input = Input { request: &request, found: &found, compliance: &compliance, now: NOW };
    assert_eq!(evaluate(Some(&compiled), &input).rule, Some(rules as usize - 1));
    bencher.bench_local(|| run(black_box(&compiled), black_box(&input)));
}

/// The decision alone.
#[divan::bench(args = RULES)]
fn gatehouse_evaluate(bencher: Bencher, rules: u32) {
    ours(bencher, rules, |compiled, input| evaluate(Some(compiled), input));
}

/// The decision with its whole trace, as it is recorded.
#[divan::bench(args = RULES)]
fn gatehouse_decide_with_trace(bencher: Bencher, rules: u32) {
    ours(bencher, rules, |compiled, input| decide(Some(compiled), input));
}

/// Preparing a published policy.
#[divan::bench(args = RULES)]
fn gatehouse_compile(bencher: Bencher, rules: u32) {
    let doc = policy(rules, 0);
    bencher.bench_local(|| CompiledPolicy::compile(1, black_box(&doc)));
}

/// Lint of the whole policy.
#[divan::bench(args = RULES, sample_count = 5)]
fn gatehouse_lint(bencher: Bencher, rules: u32) {
    let doc = policy(rules, 0);
    bencher
        .bench_local(|| domain::policy::lint::lint(black_box(&doc), &domain::policy::lint::Known::default()));
}

#[divan::bench(args = RULES)]
fn cedar_is_authorized(bencher: Bencher, rules: u32) {
    let text: String = (1..=rules)
        .map(|n| {
            format!(
                "permit(principal, action == Action::\"join\", resource) when {{ \
                 context.auth == \"eap-tls\" && context.port == \"wireless\" && \
                 context.mdm.contains(\"compliant\") && context.ssid like \"Net-{n}-*\" }};\n"
            )
        })
        .collect();
    let policies = PolicySet::from_str(&text).expect("the policies are well formed");
    let context = serde_json::json!({
        "auth": "eap-tls", "port": "wireless", "mdm": ["compliant"], "ssid": format!("Net-{rules}-5G"),
    });
    let uid = |text: &str| EntityUid::from_str(text).expect("the id is well formed");
    let request = Request::new(
        uid("Client::\"laptop\""),
        uid("Action::\"join\""),
        uid("Site::\"hq\""),
        Context::from_json_value(context, None).expect("the context is well formed"),
        None,
    )
    .expect("the request is well formed");
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    assert_eq!(authorizer.is_authorized(&request, &policies, &entities).decision(), Decision::Allow);
    bencher.bench_local(|| authorizer.is_authorized(black_box(&request), black_box(&policies), &entities));
}
