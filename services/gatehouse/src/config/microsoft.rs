//! The clouds of Microsoft that this Gatehouse is registered in: one by default, others by their prefix.

use std::path::PathBuf;
use std::time::Duration;

use microsoft::{
    AppRegistration, Certificate, Cloud, CloudName, Credential, CredentialFileError, CredentialFiles,
};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use super::reader::{Reader, SecretSource};
use super::seconds;

/// Microsoft, as this process reaches it.
#[derive(Clone, Debug)]
pub struct MicrosoftConfig {
    /// The default cloud first.
    pub clouds: Vec<CloudConfig>,
    pub request_timeout: Duration,
}

/// A cloud, with the app registration that Gatehouse has there.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    pub cloud: Cloud,
    pub app: AppRegistration,
}

pub(super) fn read(reader: &mut Reader, needed: bool) -> Option<MicrosoftConfig> {
    let name = reader.value(
        "MICROSOFT_CLOUD",
        CloudName::Global.to_string(),
        "the default cloud: global, gcc_high, dod or china; custom takes the two URLs below",
    );
    let login: Option<Url> = reader.optional("MICROSOFT_LOGIN_URL", "sign-in host of a custom cloud");
    let graph: Option<Url> = reader.optional("MICROSOFT_GRAPH_URL", "Graph host of a custom cloud");
    let app = app(reader, "MICROSOFT", needed);
    let request_timeout = seconds(reader.number(
        "MICROSOFT_REQUEST_TIMEOUT_SECONDS",
        30,
        &(1..=300),
        "how long an answer of Microsoft may take",
    ));
    let cloud = default_cloud(reader, &name, login, graph);
    let default = cloud.as_ref().map(Cloud::name);
    let others: Vec<_> = [CloudName::Global, CloudName::GccHigh, CloudName::Dod, CloudName::China]
        .into_iter()
        .filter_map(|name| further_cloud(reader, name, default))
        .collect();
    let mut clouds = vec![CloudConfig { cloud: cloud?, app: app? }];
    clouds.extend(others);
    Some(MicrosoftConfig { clouds, request_timeout })
}

fn default_cloud(reader: &mut Reader, name: &str, login: Option<Url>, graph: Option<Url>) -> Option<Cloud> {
    let name = match name.parse::<CloudName>() {
        Ok(name) => name,
        Err(error) => {
            reader.problem("MICROSOFT_CLOUD", error.to_string());
            return None;
        }
    };
    match (Cloud::of(name), login, graph) {
        (None, Some(login), Some(graph)) => Some(Cloud::custom(login, graph)),
        (None, _, _) => {
            reader.problem(
                "MICROSOFT_CLOUD",
                "is custom: also set GATEHOUSE_MICROSOFT_LOGIN_URL and GATEHOUSE_MICROSOFT_GRAPH_URL",
            );
            None
        }
        (Some(cloud), None, None) => Some(cloud),
        (Some(_), _, _) => {
            reader.problem(
                "MICROSOFT_CLOUD",
                "must be custom where GATEHOUSE_MICROSOFT_LOGIN_URL or GATEHOUSE_MICROSOFT_GRAPH_URL is set",
            );
            None
        }
    }
}

/// A cloud beside the default one: `GATEHOUSE_MICROSOFT_GCC_HIGH_CLIENT_ID` and so on.
fn further_cloud(reader: &mut Reader, name: CloudName, default: Option<CloudName>) -> Option<CloudConfig> {
    let prefix = format!("MICROSOFT_{}", name.as_str().to_uppercase());
    if !reader.any_begins_with(&format!("{prefix}_")) {
        reader
            .unset(&format!("{prefix}_CLIENT_ID"), "client id of a further app registration, in this cloud");
        return None;
    }
    let app = app(reader, &prefix, true);
    let login: Option<Url> =
        reader.optional(&format!("{prefix}_LOGIN_URL"), "reach this cloud's sign-in host by this address");
    let graph: Option<Url> =
        reader.optional(&format!("{prefix}_GRAPH_URL"), "reach this cloud's Graph host by this address");
    if default == Some(name) {
        let message =
            format!("{name} is the default cloud: set GATEHOUSE_MICROSOFT_CLIENT_ID and its like instead");
        reader.problem(format!("{prefix}_CLIENT_ID"), message);
        return None;
    }
    let cloud = Cloud::of(name)?;
    let cloud = match (login, graph) {
        (Some(login), Some(graph)) => cloud.reached_at(login, graph),
        (None, None) => cloud,
        (login, _) => {
            let missing = if login.is_some() { "GRAPH_URL" } else { "LOGIN_URL" };
            reader.problem(format!("{prefix}_{missing}"), "is missing: set both addresses, or neither");
            return None;
        }
    };
    Some(CloudConfig { cloud, app: app? })
}

/// The app registration whose settings begin with `prefix`.
fn app(reader: &mut Reader, prefix: &str, needed: bool) -> Option<AppRegistration> {
    let id_name = format!("{prefix}_CLIENT_ID");
    let certificate_name = format!("{prefix}_CLIENT_CERTIFICATE");
    let secret_name = format!("{prefix}_CLIENT_SECRET");
    let problems = reader.problems().len();
    let client_id: Option<Uuid> = reader.optional(&id_name, "client id of the app registration");
    let certificate = reader.secret_or_files(
        &certificate_name,
        "PEM of the app registration's certificate and its RSA key; several side by side are rolled over; \
         better than a secret. …_FILE names the files, with commas between; they are read again when they change",
    );
    let secret = reader.secret_or_files(
        &secret_name,
        "client secret of the app registration. …_FILE names the files, the newest first, with commas between; \
         they are read again when they change",
    );
    let unread = reader.problems().len() > problems;
    if needed && client_id.is_none() && !unread {
        reader.problem(&*id_name, "is missing: the app registration's “Application (client) ID”");
    }
    let (name, source, kind): (_, _, fn(Vec<PathBuf>) -> CredentialFiles) = match (certificate, secret) {
        (Some(_), Some(_)) => {
            let message = format!("is set, and so is GATEHOUSE_{certificate_name}: keep the certificate");
            reader.problem(secret_name, message);
            return None;
        }
        (Some(source), None) => (certificate_name, source, CredentialFiles::certificates),
        (None, Some(source)) => (secret_name, source, CredentialFiles::secrets),
        (None, None) => {
            if needed && !unread {
                let message = format!(
                    "is missing: name a PEM file with certificate and key in GATEHOUSE_{certificate_name}_FILE, or \
                     set GATEHOUSE_{secret_name}"
                );
                reader.problem(certificate_name, message);
            }
            return None;
        }
    };
    // Without an id, a credential is checked all the same.
    let id = client_id.unwrap_or_default();
    let outcome = match source {
        SecretSource::Files(paths) => {
            AppRegistration::from_files(id, kind(paths)).map_err(|error| match error {
                error @ CredentialFileError::None => (name, error.to_string()),
                error => (format!("{name}_FILE"), error.to_string()),
            })
        }
        SecretSource::Text(text) => inline(&text, name.ends_with("CERTIFICATE"))
            .map(|credentials| AppRegistration::with_credentials(id, credentials))
            .map_err(|message| (name, message)),
    };
    match outcome {
        Ok(app) => client_id.map(|_| app),
        Err((name, message)) => {
            reader.problem(name, message);
            None
        }
    }
}

fn inline(text: &SecretString, is_certificate: bool) -> Result<Vec<Credential>, String> {
    if !is_certificate {
        return Ok(vec![Credential::Secret(text.clone())]);
    }
    let all = Certificate::all_from_pem(text).map_err(|error| error.to_string())?;
    Ok(all.into_iter().map(|one| Credential::Certificate(Box::new(one))).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::{Checked, Config, ConfigError, Sources};
    use crate::roles::Roles;

    const ID: &str = "5b1d0c55-9a7e-4f3c-8a51-6a7e40053000";

    fn read(settings: &[(&str, &str)]) -> Result<Checked, ConfigError> {
        let base = [("DATABASE_URL", "postgres://app:pw@db/gatehouse"), ("REDIS_URL", "redis://cache")];
        Config::read(Sources::of(base.iter().chain(settings).copied()), Roles::ALL)
    }

    fn problems(settings: &[(&str, &str)]) -> Vec<String> {
        let error = read(settings).expect_err("there is a problem");
        error.0.iter().map(ToString::to_string).collect()
    }

    fn pem(days: i64) -> String {
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_before = time::macros::datetime!(2026-01-01 0:00 UTC) + time::Duration::days(days);
        format!("{}{}", params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn further_clouds_have_apps_of_their_own() {
        let settings = [
            ("MICROSOFT_CLIENT_ID", ID),
            ("MICROSOFT_CLIENT_SECRET", "hunter2"),
            ("MICROSOFT_GCC_HIGH_CLIENT_ID", "5b1d0c55-9a7e-4f3c-8a51-6a7e40053001"),
            ("MICROSOFT_GCC_HIGH_CLIENT_SECRET", "hunter3"),
            ("MICROSOFT_CHINA_CLIENT_ID", "5b1d0c55-9a7e-4f3c-8a51-6a7e40053002"),
            ("MICROSOFT_CHINA_CLIENT_SECRET", "hunter4"),
            ("MICROSOFT_CHINA_LOGIN_URL", "https://proxy.example/login"),
            ("MICROSOFT_CHINA_GRAPH_URL", "https://proxy.example/graph"),
        ];
        let checked = read(&settings).unwrap();
        let clouds = checked.config.microsoft.unwrap().clouds;
        let shown: Vec<_> = clouds
            .iter()
            .map(|one| (one.cloud.name().as_str(), one.cloud.login().host_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("global", "login.microsoftonline.com"),
                ("gcc_high", "login.microsoftonline.us"),
                ("china", "proxy.example")
            ]
        );
        assert_eq!(clouds[1].app.client_id().to_string(), settings[2].1);
        let lines: String = checked.effective.iter().map(|line| format!("{line}\n")).collect();
        assert!(lines.contains("GATEHOUSE_MICROSOFT_GCC_HIGH_CLIENT_ID=5b1d0c55"), "{lines}");
        assert!(lines.contains("GATEHOUSE_MICROSOFT_DOD_CLIENT_ID="), "it tells what could be set");
        assert!(!lines.contains("hunter"), "{lines}");
    }

    #[test]
    fn what_is_wrong_with_a_cloud_is_said_by_its_key() {
        let base = [("MICROSOFT_CLIENT_ID", ID), ("MICROSOFT_CLIENT_SECRET", "s")];
        for (settings, said) in [
            (
                &[("MICROSOFT_GCC_HIGH_CLIENT_ID", ID)][..],
                "GATEHOUSE_MICROSOFT_GCC_HIGH_CLIENT_CERTIFICATE: is missing",
            ),
            (&[("MICROSOFT_DOD_CLIENT_SECRET", "s")], "GATEHOUSE_MICROSOFT_DOD_CLIENT_ID: is missing"),
            (
                &[("MICROSOFT_GLOBAL_CLIENT_ID", ID), ("MICROSOFT_GLOBAL_CLIENT_SECRET", "s")],
                "GATEHOUSE_MICROSOFT_GLOBAL_CLIENT_ID: global is the default cloud",
            ),
            (
                &[
                    ("MICROSOFT_DOD_CLIENT_ID", ID),
                    ("MICROSOFT_DOD_CLIENT_SECRET", "s"),
                    ("MICROSOFT_DOD_LOGIN_URL", "https://x.example"),
                ],
                "GATEHOUSE_MICROSOFT_DOD_GRAPH_URL: is missing",
            ),
            (
                &[
                    ("MICROSOFT_DOD_CLIENT_ID", ID),
                    ("MICROSOFT_DOD_CLIENT_SECRET", "s"),
                    ("MICROSOFT_DOD_TYPO", "x"),
                ],
                "GATEHOUSE_MICROSOFT_DOD_TYPO: no setting",
            ),
            (
                &[("MICROSOFT_CLIENT_CERTIFICATE", "x")],
                "GATEHOUSE_MICROSOFT_CLIENT_SECRET: is set, and so is",
            ),
            (&[("MICROSOFT_CLOUD", "azure")], "GATEHOUSE_MICROSOFT_CLOUD: “azure” is no cloud"),
        ] {
            let all: Vec<_> = base.iter().chain(settings).copied().collect();
            let problems = problems(&all);
            assert!(problems.len() == 1 && problems[0].starts_with(said), "{problems:?}");
        }
    }

    #[test]
    fn certificates_come_from_several_files_or_one_text() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["old.pem", "new.pem"].map(|name| dir.path().join(name));
        let pems = [pem(0), pem(100)];
        for (path, pem) in paths.iter().zip(&pems) {
            std::fs::write(path, pem).unwrap();
        }
        let both = format!("{}, {}", paths[0].display(), paths[1].display());
        let settings = [("MICROSOFT_CLIENT_ID", ID), ("MICROSOFT_CLIENT_CERTIFICATE_FILE", both.as_str())];
        assert!(read(&settings).is_ok());
        let text = pems.concat();
        assert!(read(&[("MICROSOFT_CLIENT_ID", ID), ("MICROSOFT_CLIENT_CERTIFICATE", &text)]).is_ok());
        std::fs::write(&paths[1], "no PEM").unwrap();
        let problems = problems(&settings);
        assert!(problems.len() == 1, "{problems:?}");
        assert!(problems[0].starts_with("GATEHOUSE_MICROSOFT_CLIENT_CERTIFICATE_FILE: "), "{problems:?}");
        assert!(problems[0].contains("new.pem"), "{problems:?}");
    }
}
