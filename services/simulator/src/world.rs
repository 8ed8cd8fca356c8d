//! Everything that the simulator knows, shared by its three faces: Entra, Graph and the control pages.
//!
//! Locks are short and never held across an await; where two are needed, a tenant's is taken before a log's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::Config,
    directory::{App, Certificate, Secret, Tenant, app::CertificateError},
    faults::FaultPlan,
    fleet::{
        Fleet, Flip, PatchError, Precision, Property, timestamp,
        transitions::{Cause, Transition, TransitionLog},
    },
    keys::{KeyError, Keyring},
    login::sign_ins::SignIns,
    persistence::{self, Snapshot},
    requests::RequestLog,
    settings::Settings,
    throttle::Throttle,
};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("the state file {0} cannot be used: {1}")]
    State(String, String),
    #[error("the client certificate {0} cannot be read: {1}")]
    CertificateFile(String, std::io::Error),
    #[error("the client certificate {0} cannot be used: {1}")]
    Certificate(String, CertificateError),
}

#[derive(Debug, Default)]
pub struct Directory {
    by_id: HashMap<Uuid, Arc<Tenant>>,
    by_domain: HashMap<String, Uuid>,
    order: Vec<Uuid>,
}

impl Directory {
    pub fn insert(&mut self, tenant: Tenant) -> Arc<Tenant> {
        let tenant = Arc::new(tenant);
        self.by_domain.insert(tenant.domain.to_lowercase(), tenant.id);
        if self.by_id.insert(tenant.id, Arc::clone(&tenant)).is_none() {
            self.order.push(tenant.id);
        }
        tenant
    }

    pub fn remove(&mut self, id: Uuid) -> bool {
        let Some(tenant) = self.by_id.remove(&id) else { return false };
        self.by_domain.remove(&tenant.domain.to_lowercase());
        self.order.retain(|other| *other != id);
        true
    }

    #[must_use]
    pub fn get(&self, id: Uuid) -> Option<Arc<Tenant>> {
        self.by_id.get(&id).cloned()
    }

    #[must_use]
    pub fn with_domain(&self, domain: &str) -> Option<Arc<Tenant>> {
        self.by_domain.get(&domain.to_lowercase()).and_then(|id| self.get(*id))
    }

    /// Tenants in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.order.iter().filter_map(|id| self.by_id.get(id))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }
}

#[derive(Debug)]
pub struct World {
    pub config: Config,
    /// Without a trailing slash.
    pub public_url: String,
    pub clock: Clock,
    /// Authenticates opaque page tokens, so that a made-up one is refused.
    pub page_key: aws_lc_rs::hmac::Key,
    keys: RwLock<Keyring>,
    apps: RwLock<Vec<App>>,
    directory: RwLock<Directory>,
    settings: RwLock<Settings>,
    sign_ins: Mutex<SignIns>,
    transitions: Mutex<TransitionLog>,
    deadlines: Mutex<BTreeSet<(OffsetDateTime, Uuid, u64)>>,
    faults: Mutex<FaultPlan>,
    throttle: Mutex<Throttle>,
    requests: Mutex<RequestLog>,
    dirty: AtomicBool,
    /// Held while the state file is written, for two writers would share one temporary file.
    saving: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A new world by `config`, or the one that its state file holds.
    pub fn new(config: Config, public_url: &str) -> Result<Self, StartError> {
        let clock = Clock::starting_at(config.now);
        let stored = match &config.state {
            Some(path) => persistence::load(path)
                .map_err(|error| StartError::State(path.display().to_string(), error.to_string()))?,
            None => None,
        };
        let page_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &config.seed.to_be_bytes());
        let fresh = stored.is_none();
        let mut snapshot = match stored {
            Some(snapshot) => snapshot,
            None => Self::fresh(&config, &clock)?,
        };
        if let (false, None) = (fresh, config.now) {
            clock.set_offsets(
                Duration::seconds(snapshot.fleet_offset_seconds),
                Duration::seconds(snapshot.login_offset_seconds),
            );
        }
        register_default_app(&mut snapshot.apps, &config)?;
        let mut directory = Directory::default();
        for tenant in snapshot.tenants {
            directory.insert(tenant);
        }
        let world = Self {
            public_url: public_url.trim_end_matches('/').to_owned(),
            page_key,
            keys: RwLock::new(Keyring::load(snapshot.keys)?),
            apps: RwLock::new(snapshot.apps),
            directory: RwLock::new(directory),
            settings: RwLock::new(Settings { latency_ms: config.latency_ms, ..snapshot.settings }),
            sign_ins: Mutex::default(),
            transitions: Mutex::new(snapshot.transitions),
            deadlines: Mutex::default(),
            faults: Mutex::new(FaultPlan::seeded(config.seed)),
            throttle: Mutex::default(),
            requests: Mutex::default(),
            dirty: AtomicBool::new(fresh),
            saving: Mutex::default(),
            clock,
            config,
        };
        for tenant in world.tenants() {
            world.watch_fleet(&tenant, 0);
            if fresh && world.config.consented {
                world.consent(&tenant, &world.config.client_id.clone(), None, 0);
            }
        }
        Ok(world)
    }

    fn fresh(config: &Config, clock: &Clock) -> Result<Snapshot, StartError> {
        let now = clock.fleet();
        Ok(Snapshot {
            fleet_offset_seconds: 0,
            login_offset_seconds: 0,
            keys: Keyring::generate(clock.login())?.stored(),
            apps: Vec::new(),
            settings: Settings::default(),
            transitions: TransitionLog::default(),
            tenants: (0..config.tenants)
                .map(|number| Tenant::numbered(number, config.seed, config.devices_per_tenant, now))
                .collect(),
        })
    }

    /// Back to how it was at the start: tenants, apps, settings, logs and clocks. Signing keys stay.
    pub fn reset(&self) -> Result<(), StartError> {
        let start = Clock::starting_at(self.config.now).offsets();
        self.clock.set_offsets(start.0, start.1);
        let now = self.clock.fleet();
        let mut apps = Vec::new();
        register_default_app(&mut apps, &self.config)?;
        *write(&self.apps) = apps;
        *write(&self.settings) = Settings { latency_ms: self.config.latency_ms, ..Settings::default() };
        let mut directory = Directory::default();
        for number in 0..self.config.tenants {
            directory.insert(Tenant::numbered(number, self.config.seed, self.config.devices_per_tenant, now));
        }
        *write(&self.directory) = directory;
        *lock(&self.sign_ins) = SignIns::default();
        *lock(&self.transitions) = TransitionLog::default();
        lock(&self.deadlines).clear();
        *lock(&self.faults) = FaultPlan::seeded(self.config.seed);
        lock(&self.throttle).clear();
        *lock(&self.requests) = RequestLog::default();
        for tenant in self.tenants() {
            self.watch_fleet(&tenant, 0);
            if self.config.consented {
                self.consent(&tenant, &self.config.client_id, None, 0);
            }
        }
        self.touch();
        Ok(())
    }

    /// Marks the world as changed, to be written to the state file.
    pub fn touch(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Whether it changed since the last time of asking.
    pub fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    pub fn keys(&self) -> RwLockReadGuard<'_, Keyring> {
        read(&self.keys)
    }

    pub fn keys_mut(&self) -> RwLockWriteGuard<'_, Keyring> {
        self.touch();
        write(&self.keys)
    }

    pub fn apps(&self) -> RwLockReadGuard<'_, Vec<App>> {
        read(&self.apps)
    }

    pub fn apps_mut(&self) -> RwLockWriteGuard<'_, Vec<App>> {
        self.touch();
        write(&self.apps)
    }

    #[must_use]
    pub fn app(&self, client_id: &str) -> Option<App> {
        read(&self.apps).iter().find(|app| app.client_id.eq_ignore_ascii_case(client_id)).cloned()
    }

    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        read(&self.directory)
    }

    pub fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.touch();
        write(&self.directory)
    }

    #[must_use]
    pub fn tenant(&self, id: Uuid) -> Option<Arc<Tenant>> {
        read(&self.directory).get(id)
    }

    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        read(&self.directory).iter().cloned().collect()
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        read(&self.settings).clone()
    }

    pub fn set_settings(&self, settings: Settings) {
        *write(&self.settings) = settings;
        self.touch();
    }

    pub fn sign_ins(&self) -> MutexGuard<'_, SignIns> {
        lock(&self.sign_ins)
    }

    pub fn transitions(&self) -> MutexGuard<'_, TransitionLog> {
        lock(&self.transitions)
    }

    pub fn faults(&self) -> MutexGuard<'_, FaultPlan> {
        lock(&self.faults)
    }

    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        lock(&self.throttle)
    }

    pub fn requests(&self) -> MutexGuard<'_, RequestLog> {
        lock(&self.requests)
    }

    /// Grants app roles to `client_id` in `tenant`, those of its manifest unless `roles` names others, in effect
    /// after `delay_seconds`. Makes the service principal if there is none.
    pub fn consent(&self, tenant: &Tenant, client_id: &str, roles: Option<Vec<String>>, delay_seconds: u32) {
        let roles = roles.or_else(|| self.app(client_id).map(|app| app.required_roles)).unwrap_or_default();
        let effective = self.clock.login() + Duration::seconds(i64::from(delay_seconds));
        let mut state = tenant.write();
        let principal = state.principals.entry(client_id.to_lowercase()).or_default();
        if principal.state == crate::directory::PrincipalState::Deleted {
            principal.roles.clear();
        }
        principal.grant(roles.iter().map(String::as_str), effective);
        self.touch();
    }

    /// Sets properties of a device and logs the change of compliance, if it is one.
    pub fn patch_device(
        &self,
        tenant: &Tenant,
        index: u64,
        patch: Map<String, Value>,
        cause: Cause,
    ) -> Result<Option<Flip>, PatchError> {
        let now = self.clock.fleet();
        let mut state = tenant.write();
        let flip = state.fleet.patch(index, patch, now)?;
        self.after_change(tenant.id, &state.fleet, index, flip.as_ref(), cause, now);
        Ok(flip)
    }

    /// Adds a device; returns its number.
    pub fn create_device(
        &self,
        tenant: &Tenant,
        patch: Map<String, Value>,
        partner_managed: bool,
    ) -> Result<u64, PatchError> {
        let now = self.clock.fleet();
        let mut state = tenant.write();
        let index = state.fleet.create(patch, partner_managed, now)?;
        self.after_change(tenant.id, &state.fleet, index, None, Cause::Api, now);
        Ok(index)
    }

    /// Adds generated devices; returns the number of the first.
    pub fn generate_devices(&self, tenant: &Tenant, count: u64) -> u64 {
        let from = {
            let mut state = tenant.write();
            let from = state.fleet.len();
            state.fleet.generate(count);
            from
        };
        self.watch_fleet(tenant, from);
        self.touch();
        from
    }

    fn after_change(
        &self,
        tenant: Uuid,
        fleet: &Fleet,
        index: u64,
        flip: Option<&Flip>,
        cause: Cause,
        now: OffsetDateTime,
    ) {
        if let Some(flip) = flip {
            let device = fleet.device(index, now);
            lock(&self.transitions).push(Transition {
                sequence: 0,
                at: now,
                tenant_id: tenant,
                device_id: device.id(),
                azure_ad_device_id: device.text(Property::AzureAdDeviceId),
                device_name: device.text(Property::DeviceName),
                from: flip.from.clone(),
                to: flip.to.clone(),
                cause,
            });
        }
        if let Some(at) = fleet.deadline(index, now) {
            lock(&self.deadlines).insert((at, tenant, index));
        }
        self.touch();
    }

    fn watch_fleet(&self, tenant: &Tenant, from: u64) {
        let now = self.clock.fleet();
        let state = tenant.read();
        let due: Vec<_> = (from..state.fleet.len())
            .filter_map(|index| state.fleet.deadline(index, now).map(|at| (at, tenant.id, index)))
            .collect();
        lock(&self.deadlines).extend(due);
    }

    /// Adds a tenant and watches its fleet.
    pub fn add_tenant(&self, tenant: Tenant) -> Arc<Tenant> {
        let tenant = self.directory_mut().insert(tenant);
        self.watch_fleet(&tenant, 0);
        tenant
    }

    /// Lets Intune do what has come due: graces that ended, devices that were silent for too long. Called at
    /// the start of every request, so that nobody sees a state that time has overtaken.
    pub fn settle(&self) {
        let now = self.clock.fleet();
        if !read(&self.settings).compliance_engine {
            return;
        }
        loop {
            let (at, tenant, index) = {
                let mut deadlines = lock(&self.deadlines);
                match deadlines.first().copied() {
                    Some(due) if due.0 <= now => deadlines.pop_first().unwrap_or(due),
                    _ => return,
                }
            };
            let Some(tenant) = self.tenant(tenant) else { continue };
            let cause = {
                let state = tenant.read();
                // The device may have changed since: only a deadline that still stands counts.
                if state.fleet.deadline(index, now) != Some(at) {
                    continue;
                }
                match state.fleet.device(index, now).text(Property::ComplianceState).as_str() {
                    "inGracePeriod" => Cause::GraceExpired,
                    _ => Cause::Inactive,
                }
            };
            let mut patch = Map::new();
            patch.insert(Property::ComplianceState.name().to_owned(), json!("noncompliant"));
            if cause == Cause::GraceExpired {
                // Intune goes on showing when the grace ended.
                patch.insert(
                    Property::ComplianceGracePeriodExpirationDateTime.name().to_owned(),
                    json!(timestamp(at, Precision::Ticks)),
                );
            }
            let _ = self.patch_device(&tenant, index, patch, cause);
        }
    }

    /// Writes everything into the state file, if there is one.
    pub fn save(&self) -> std::io::Result<()> {
        match &self.config.state {
            Some(path) => {
                let _alone = lock(&self.saving);
                persistence::save(path, self)
            }
            None => Ok(()),
        }
    }
}

/// Makes the default app what the flags say, and leaves what else was registered with it.
fn register_default_app(apps: &mut Vec<App>, config: &Config) -> Result<(), StartError> {
    let mut certificates = Vec::new();
    for path in &config.client_certificates {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| StartError::CertificateFile(name.clone(), error))?;
        certificates.push(Certificate::parse(&text).map_err(|error| StartError::Certificate(name, error))?);
    }
    let at = match apps.iter().position(|app| app.client_id == config.client_id) {
        Some(at) => at,
        None => {
            apps.push(App {
                client_id: config.client_id.clone(),
                name: "Gatehouse".to_owned(),
                multi_tenant: true,
                redirect_uris: Vec::new(),
                secrets: Vec::new(),
                certificates: Vec::new(),
                required_roles: crate::directory::roles::DEFAULT_MANIFEST
                    .iter()
                    .map(|&role| role.to_owned())
                    .collect(),
            });
            apps.len() - 1
        }
    };
    let app = &mut apps[at];
    for uri in &config.redirect_uris {
        if !app.redirect_uris.contains(uri) {
            app.redirect_uris.push(uri.clone());
        }
    }
    for value in &config.client_secrets {
        if !app.secrets.iter().any(|secret| secret.value == *value) {
            app.secrets.push(Secret { value: value.clone(), expires: None });
        }
    }
    for certificate in certificates {
        if !app.certificates.iter().any(|known| known.der == certificate.der) {
            app.certificates.push(certificate);
        }
    }
    Ok(())
}
