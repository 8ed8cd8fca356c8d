//! Decisions through FreeRADIUS, in the configuration of `infra/freeradius`; against the same FreeRADIUS whose calls a
//! web server answers with a text that it has at hand.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use devservers::free_port;
use nix::sys::signal::Signal;
use serde_json::json;
use url::Url;

use super::journal::Journal;
use super::radius_client::Nases;
use super::world::{self, Client, Size};
use crate::Machine;
use crate::bed::{Bed, local};
use crate::program::{Program, own_cpu};
use crate::report::{cores, median, note, say, table};

const SECRET: &str = "a secret of the figures";
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/freeradius/raddb");
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    size: Size,
    #[arg(long, default_value_t = 2_000)]
    clients: u32,
    /// Requests under way at once.
    #[arg(long, value_delimiter = ',', default_value = "1,32,64")]
    under_way: Vec<usize>,
    /// Of each round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Both take turns so often; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    let bed = Bed::start(machine, 1, 1).await?;
    let database = bed.database("radius").await?;
    // A FreeRADIUS is one edge.
    let clients =
        world::seed(&database, Size { organizations: 1, edges: 1, ..args.size }, args.clients).await?;
    // It may ask for more than an edge usually may.
    let more = [("NAC_EDGE_REQUESTS_PER_SECOND", "1000000"), ("NAC_EDGE_REQUESTS_BURST", "1000000")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut nac = bed.gatehouse("nac", "nac", &database, &more);
    nac.program.start().await?;
    let answer = one_answer(&nac.nac_url, &clients[0]).await?;
    let (mut web, web_url) = nginx(&bed, &answer)?;
    web.start().await?;
    let mut asking = FreeRadius::start(&bed, "radius-gatehouse", &nac.nac_url, &clients[0].token).await?;
    let mut still = FreeRadius::start(&bed, "radius-static", &web_url, &clients[0].token).await?;
    let clients: Arc<[Client]> = clients.into();
    say(&format!(
        "MAC authentication of {} clients through FreeRADIUS, {} rules; the static answer is {} bytes.",
        args.clients,
        args.size.rules,
        answer.len()
    ));
    note("Warming up");
    for server in [&asking, &still] {
        server.nases(&clients, 16).ask(Duration::from_secs(3)).await?;
    }
    let (mut rows, mut failed) = (Vec::new(), 0);
    for under_way in &args.under_way {
        let mut sides = [Measured::default(), Measured::default()];
        for _ in 0..args.rounds {
            for (side, server, asked) in [(0, &still, &web), (1, &asking, &nac.program)] {
                let cpu = || {
                    let [postgres, ..] = bed.cpu();
                    [server.program.cpu(), asked.cpu(), postgres, own_cpu()]
                };
                let before = cpu();
                let journal =
                    server.nases(&clients, *under_way).ask(Duration::from_secs(args.seconds)).await?;
                let spent = cpu().into_iter().zip(before);
                let side = &mut sides[side];
                side.cores = spent.map(|(now, then)| cores(now.saturating_sub(then), journal.wall)).collect();
                side.rates.push(journal.per_second());
                side.journal.add(journal);
            }
        }
        let least = median(&sides[0].rates);
        for (what, Measured { rates, journal, cores }) in
            ["static answer", "Gatehouse"].into_iter().zip(sides)
        {
            failed += journal.failed.len();
            let (rate, ratio) = (median(&rates), median(&rates) / least);
            let mut row =
                vec![under_way.to_string(), what.to_owned(), format!("{rate:.0}"), format!("{ratio:.3}")];
            row.extend(journal.latency().cells());
            row.extend(cores);
            row.push(journal.failures());
            rows.push(row);
        }
    }
    table(
        &[
            "under way",
            "asked",
            "/s (median)",
            "of static",
            "p50, ms",
            "p99",
            "p99.9",
            "longest",
            "cores: FreeRADIUS",
            "asked",
            "PostgreSQL",
            "generator",
            "failed",
        ],
        &rows,
    );
    for program in [&mut asking.program, &mut still.program, &mut web, &mut nac.program] {
        program.end().await;
    }
    bed.stop().await;
    Ok(failed == 0)
}

#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    journal: Journal,
    cores: Vec<String>,
}

/// What Gatehouse answers FreeRADIUS about a client.
async fn one_answer(nac: &Url, client: &Client) -> anyhow::Result<String> {
    let attribute = |value: &str| json!({ "type": "string", "value": [value] });
    let mac = client.mac.to_string();
    let body = json!({
        "User-Name": attribute(&mac),
        "Calling-Station-Id": attribute(&mac),
        "Called-Station-SSID": attribute(&client.ssid),
        "Gatehouse-Auth-Type": attribute("mab"),
        "NAS-Port-Type": attribute("Wireless-802.11"),
    });
    let http = reqwest::Client::new();
    let url = nac.join("v1/nac/radius/authorize")?;
    let answer = http.post(url).bearer_auth(&client.token).json(&body).send().await?.error_for_status()?;
    let text = answer.text().await?;
    if !text.contains("\"accept\"") {
        bail!("the first client is not let in: {text}");
    }
    Ok(text)
}

/// A web server that answers every call with a text.
fn nginx(bed: &Bed, answer: &str) -> anyhow::Result<(Program, Url)> {
    if answer.contains(['\'', '$', '\\']) {
        bail!("nginx would read more into this text: {answer}");
    }
    let dir = bed.dir.join("nginx");
    fs::create_dir_all(&dir)?;
    let port = free_port();
    let config = format!(
        "daemon off; worker_processes auto; pid {dir}/pid; error_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}/body;\n\
         proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi;\n\
         scgi_temp_path {dir}/scgi;\n\
         server {{ listen 127.0.0.1:{port}; default_type application/json;\n\
         location / {{ return 200 '{answer}'; }} }} }}\n",
        dir = dir.display(),
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let program = installed("nginx")?;
    let url = local(port);
    let program = Program::new("nginx", &bed.dir, Some(url.clone()), Signal::SIGTERM, move || {
        let mut command = devservers::dies_with_parent("TERM");
        command.arg(&program).arg("-c").arg(&file);
        command
    });
    Ok((program, url))
}

/// A FreeRADIUS that is an edge.
struct FreeRadius {
    program: Program,
    address: SocketAddr,
}

impl FreeRadius {
    async fn start(bed: &Bed, name: &str, api: &Url, token: &str) -> anyhow::Result<Self> {
        let dir = bed.dir.join(name);
        let port = free_port();
        render(&dir, api, token, port)?;
        let (freeradius, raddb) = (installed("freeradius")?, dir.join("raddb"));
        let mut program = Program::new(name, &bed.dir, None, Signal::SIGTERM, move || {
            let mut command = devservers::dies_with_parent("KILL");
            command.arg(&freeradius).args(["-f", "-l", "stdout", "-n", "radiusd", "-d"]).arg(&raddb);
            command
        });
        program.spawn()?;
        let begun = Instant::now();
        while !fs::read_to_string(bed.dir.join(format!("{name}.log")))?.contains("Ready to process requests")
        {
            if begun.elapsed() > PATIENCE {
                bail!("FreeRADIUS is not ready: {}/{name}.log", bed.dir.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { program, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    fn nases(&self, clients: &Arc<[Client]>, under_way: usize) -> Nases {
        let secret = SECRET.as_bytes().into();
        Nases { server: self.address, secret, clients: Arc::clone(clients), under_way }
    }
}

/// The package, with the settings of this run.
fn render(dir: &Path, api: &Url, token: &str, port: u16) -> anyhow::Result<()> {
    let raddb = dir.join("raddb");
    for folder in ["log", "run", "spool", "raddb/certs"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    copy(Path::new(PACKAGE), &raddb)?;
    let me = nix::unistd::User::from_uid(nix::unistd::getuid())?.context("this user has no name")?;
    let group = nix::unistd::Group::from_gid(me.gid)?.context("this group has no name")?;
    let at = |name: &str| format!("{:?}", dir.join(name));
    let settings = [
        ("confdir", at("raddb")),
        ("logdir", at("log")),
        ("run_dir", at("run")),
        ("spooldir", at("spool")),
        ("url", format!("{:?}", api.as_str().trim_end_matches('/'))),
        ("token", format!("{token:?}")),
        ("user", format!("{:?}", me.name)),
        ("group", format!("{:?}", group.name)),
        ("radius_address", "127.0.0.1".to_owned()),
        ("radius_auth_port", port.to_string()),
        ("radius_acct_port", free_port().to_string()),
    ];
    let file = raddb.join("gatehouse.conf");
    let mut text = fs::read_to_string(&file)?;
    for (name, value) in settings {
        let is_it = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == name);
        let line = text.lines().find(is_it).with_context(|| format!("gatehouse.conf has no {name}"))?;
        text = text.replace(line, &format!("{name} = {value}"));
    }
    fs::write(&file, text)?;
    let clients = raddb.join("clients.conf");
    fs::write(&clients, fs::read_to_string(&clients)?.replace("change-me", SECRET))?;
    // EAP is not measured; it wants to be there all the same.
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["radius.example".to_owned()])?.self_signed(&key)?.pem();
    let certs = raddb.join("certs");
    for (name, pem) in
        [("server.pem", &certificate), ("clients-ca.pem", &certificate), ("server.key", &key.serialize_pem())]
    {
        fs::write(certs.join(name), pem)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() { copy(&path, &target)? } else { fs::copy(&path, &target).map(drop)? }
    }
    Ok(())
}

/// A program that `./dev figures` installs.
fn installed(name: &str) -> anyhow::Result<PathBuf> {
    let folders = std::env::var("PATH").unwrap_or_default();
    let folders = folders.split(':').chain(["/usr/sbin", "/usr/bin"]);
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not installed: ./dev figures radius installs it"))
}
