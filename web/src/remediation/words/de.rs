//! Deutsch.

use super::{Span, Step, Why, Words, count};

pub(in crate::remediation) static WORDS: Words = Words {
    title: "Netzwerkzugang",
    held: "Dieses Gerät hat nur eingeschränkten Netzwerkzugang",
    moving_title: "Geschafft: Ihr Gerät wird freigeschaltet",
    moving_text: "Mit Ihrem Gerät ist jetzt alles in Ordnung, und das Netzwerk schaltet es um. Die Verbindung kann kurz \
                  abbrechen. Geschieht innerhalb einer Minute nichts, trennen Sie die Verbindung zu diesem Netzwerk \
                  und verbinden Sie sich neu.",
    settled_title: "Dieses Gerät ist nicht eingeschränkt",
    settled_text: "Sie können diese Seite schließen. Wenn etwas noch nicht geht, trennen Sie die Verbindung zu diesem \
                   Netzwerk und verbinden Sie sich neu.",
    what_to_do: "Was Sie tun können",
    about: "Zu diesem Gerät",
    check_again: "Erneut prüfen",
    open_portal: "Website des Unternehmensportals öffnen",
    language: "Sprache",
    device: "Gerät",
    address: "Netzwerkadresse",
    last_check_in: "Letzter Kontakt zu Microsoft Intune",
    looked_at: "Bei Microsoft zuletzt nachgefragt",
    grace_ends: "Frist endet",
    checking: "Wir fragen bei Microsoft nach. Diese Seite erneuert sich von selbst.",
    no_change: "Gerade geprüft: Es hat sich noch nichts geändert.",
    late: "Von Microsoft gibt es noch keine neue Antwort. Die Prüfung läuft von selbst weiter: Kommen Sie in einigen \
           Minuten wieder.",
    gone_title: "Diese Adresse gilt nicht mehr",
    gone_text: "Sie ist vielleicht zu alt oder unvollständig. Trennen Sie die Verbindung zu diesem Netzwerk und \
                verbinden Sie sich neu, dann erhalten Sie eine neue. Ist Ihr Gerät noch nicht bei Ihrer Organisation \
                registriert, holen Sie das zuerst nach:",
    busy_title: "Das geht gerade nicht",
    away_text: "Für Ihr Gerät hat sich nichts geändert. Versuchen Sie es in einer Minute noch einmal.",
    help_from: |org| format!("Hilfe von {org}"),
    too_soon: |seconds| {
        format!("Sie haben gerade erst nachgefragt. In {seconds} s können Sie erneut prüfen lassen.")
    },
    ago: |span| match span {
        Span::Moments => "gerade eben".to_owned(),
        Span::Minutes(n) => format!("vor {}", count(n, "Minute", "Minuten")),
        Span::Hours(n) => format!("vor {}", count(n, "Stunde", "Stunden")),
        Span::Days(n) => format!("vor {}", count(n, "Tag", "Tagen")),
    },
    ahead: |span| match span {
        Span::Moments => "gleich".to_owned(),
        Span::Minutes(n) => format!("in {}", count(n, "Minute", "Minuten")),
        Span::Hours(n) => format!("in {}", count(n, "Stunde", "Stunden")),
        Span::Days(n) => format!("in {}", count(n, "Tag", "Tagen")),
    },
    why: |why| match why {
        Why::NonCompliant => (
            "Es erfüllt die Sicherheitsvorgaben Ihrer Organisation nicht",
            "An diesem Gerät muss etwas geändert werden, zum Beispiel ein Update, ein Sperrcode oder die \
             Verschlüsselung.",
        ),
        Why::InGrace => (
            "Es muss bald in Ordnung gebracht werden",
            "Dieses Gerät erfüllt die Sicherheitsvorgaben Ihrer Organisation nicht. Es bleibt noch etwas Zeit, das zu \
             ändern.",
        ),
        Why::NotEvaluated => (
            "Es wurde noch nicht geprüft",
            "Dieses Gerät ist registriert, aber Microsoft Intune hat es noch nicht geprüft. Nach der Registrierung \
             dauert das einige Minuten.",
        ),
        Why::NotDetermined => (
            "Seine Sicherheit ließ sich nicht feststellen",
            "Microsoft Intune hat versucht, dieses Gerät zu prüfen, und kam zu keinem Ergebnis.",
        ),
        Why::NotEnrolled => (
            "Es ist nicht bei Ihrer Organisation registriert",
            "Kein Gerät Ihrer Organisation passt zu diesem. Nur registrierte Geräte erhalten vollen Zugang.",
        ),
        Why::RandomMac => (
            "Es verbirgt seine Netzwerkadresse",
            "Dieses Gerät verwendet in diesem Netzwerk eine private (zufällige) Adresse und kann deshalb nicht erkannt \
             werden.",
        ),
        Why::NoCertificate => (
            "Es hat sein Zertifikat nicht vorgezeigt",
            "Dieses Gerät hat sich ohne das Zertifikat verbunden, an dem Ihre Organisation es erkennt.",
        ),
        Why::CertificateExpired => (
            "Sein Zertifikat ist abgelaufen",
            "Das Zertifikat, an dem Ihre Organisation dieses Gerät erkennt, ist nicht mehr gültig.",
        ),
        Why::Ambiguous => (
            "Es lässt sich nicht von einem anderen Gerät unterscheiden",
            "Mehrere registrierte Geräte sehen aus wie dieses; deshalb wird hier keinem davon vertraut.",
        ),
        Why::Stale => {
            ("Was über es bekannt ist, ist zu alt", "Von diesem Gerät gibt es seit langem nichts Neues.")
        }
        Why::Unlinked => (
            "Der Netzwerkdienst Ihrer Organisation ist noch nicht bereit",
            "Mit Ihrem Gerät ist alles in Ordnung: Ihre Organisation hat ihre Geräteverwaltung noch nicht fertig \
             verbunden.",
        ),
        Why::Rule => (
            "Die Regeln Ihrer Organisation schränken es hier ein",
            "Ihr Gerät ist in Ordnung. Sein Zugang zu diesem Netzwerk ist aus einem anderen Grund eingeschränkt, den \
             Ihnen der IT-Support nennen kann.",
        ),
    },
    step: |step| match step {
        Step::OpenPortal => {
            "Öffnen Sie auf diesem Gerät die App „Unternehmensportal“ oder die unten genannte Website, und melden Sie \
             sich mit Ihrem Geschäftskonto an."
        }
        Step::ChooseDevice => "Wählen Sie dieses Gerät aus. Dort steht, was zu ändern ist und wie.",
        Step::CheckStatus => {
            "Folgen Sie den Hinweisen, und wählen Sie dort „Status überprüfen“ (oder „Zugriff überprüfen“)."
        }
        Step::CheckAgain => "Kommen Sie auf diese Seite zurück, und drücken Sie „Erneut prüfen“.",
        Step::KeepOn => "Lassen Sie das Gerät eingeschaltet und verbunden.",
        Step::Enroll => {
            "Installieren Sie die App „Unternehmensportal“ aus dem App-Store Ihres Geräts, melden Sie sich mit Ihrem \
             Geschäftskonto an, und registrieren Sie dieses Gerät wie dort beschrieben."
        }
        Step::FixedAddress => {
            "Öffnen Sie auf Ihrem Gerät die Einstellungen dieses Netzwerks, und schalten Sie „Private WLAN-Adresse“ \
             (oder „Zufällige Hardwareadressen“, „Zufällige MAC“) aus."
        }
        Step::Sync => {
            "Öffnen Sie die App „Unternehmensportal“, wählen Sie dieses Gerät und dann „Synchronisieren“ oder „Status \
             überprüfen“."
        }
        Step::Reconnect => "Trennen Sie die Verbindung zu diesem Netzwerk, und verbinden Sie sich neu.",
        Step::AskHelp => "Wenden Sie sich an den IT-Support Ihrer Organisation, und zeigen Sie diese Seite.",
    },
};
