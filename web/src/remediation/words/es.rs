//! Español.

use super::{Span, Step, Why, Words, count};

pub(in crate::remediation) static WORDS: Words = Words {
    title: "Acceso a la red",
    held: "Este dispositivo tiene un acceso limitado a la red",
    moving_title: "Listo: su dispositivo va a ser admitido",
    moving_text: "Su dispositivo ya está en regla y la red lo está cambiando de sitio. La conexión puede cortarse un \
                  momento. Si no ocurre nada en un minuto, desconéctese de esta red y vuelva a conectarse.",
    settled_title: "Este dispositivo no tiene limitaciones",
    settled_text: "Puede cerrar esta página. Si algo todavía no funciona, desconéctese de esta red y vuelva a conectarse.",
    what_to_do: "Qué hacer",
    about: "Sobre este dispositivo",
    check_again: "Comprobar de nuevo",
    open_portal: "Abrir el sitio web de Portal de empresa",
    language: "Idioma",
    device: "Dispositivo",
    address: "Dirección de red",
    last_check_in: "Último contacto con Microsoft Intune",
    looked_at: "Última consulta a Microsoft",
    grace_ends: "El plazo termina",
    checking: "Consultando a Microsoft. Esta página se actualiza sola.",
    no_change: "Comprobado hace un momento: todavía no ha cambiado nada.",
    late: "Aún no hay una respuesta nueva de Microsoft. La comprobación sigue por sí sola: vuelva dentro de unos minutos.",
    gone_title: "Esta dirección ya no es válida",
    gone_text: "Puede que sea demasiado antigua o que esté incompleta. Desconéctese de esta red y vuelva a conectarse: \
                recibirá una nueva. Si su dispositivo aún no está inscrito en su organización, haga primero lo \
                siguiente:",
    busy_title: "Ahora mismo no es posible",
    away_text: "Nada ha cambiado para su dispositivo. Inténtelo de nuevo en un minuto.",
    help_from: |org| format!("Ayuda de {org}"),
    too_soon: |seconds| format!("Acaba de pedirlo. Puede volver a pedirlo dentro de {seconds} s."),
    ago: |span| match span {
        Span::Moments => "ahora mismo".to_owned(),
        Span::Minutes(n) => format!("hace {}", count(n, "minuto", "minutos")),
        Span::Hours(n) => format!("hace {}", count(n, "hora", "horas")),
        Span::Days(n) => format!("hace {}", count(n, "día", "días")),
    },
    ahead: |span| match span {
        Span::Moments => "en un momento".to_owned(),
        Span::Minutes(n) => format!("dentro de {}", count(n, "minuto", "minutos")),
        Span::Hours(n) => format!("dentro de {}", count(n, "hora", "horas")),
        Span::Days(n) => format!("dentro de {}", count(n, "día", "días")),
    },
    why: |why| match why {
        Why::NonCompliant => (
            "No cumple los requisitos de seguridad de su organización",
            "Hay que cambiar algo en este dispositivo, por ejemplo una actualización, un código de bloqueo o el cifrado.",
        ),
        Why::InGrace => (
            "Debe ponerse en regla pronto",
            "Este dispositivo no cumple los requisitos de seguridad de su organización. Todavía queda algo de tiempo para \
             corregirlo.",
        ),
        Why::NotEvaluated => (
            "Aún no se ha comprobado",
            "Este dispositivo está inscrito, pero Microsoft Intune todavía no lo ha comprobado. Después de la inscripción \
             tarda unos minutos.",
        ),
        Why::NotDetermined => (
            "No se ha podido determinar su seguridad",
            "Microsoft Intune ha intentado comprobar este dispositivo y no ha llegado a ningún resultado.",
        ),
        Why::NotEnrolled => (
            "No está inscrito en su organización",
            "Ningún dispositivo de su organización coincide con este. Solo los dispositivos inscritos tienen acceso \
             completo.",
        ),
        Why::RandomMac => (
            "Oculta su dirección de red",
            "Este dispositivo usa una dirección privada (aleatoria) en esta red, por lo que no se le puede reconocer.",
        ),
        Why::NoCertificate => (
            "No ha mostrado su certificado",
            "Este dispositivo se ha conectado sin el certificado por el que su organización lo reconoce.",
        ),
        Why::CertificateExpired => (
            "Su certificado ha caducado",
            "El certificado por el que su organización reconoce este dispositivo ya no es válido.",
        ),
        Why::Ambiguous => (
            "No se distingue de otro dispositivo",
            "Varios dispositivos inscritos se parecen a este, por lo que aquí no se confía en ninguno de ellos.",
        ),
        Why::Stale => (
            "Lo que se sabe de él es demasiado antiguo",
            "Hace mucho tiempo que no hay noticias de este dispositivo.",
        ),
        Why::Unlinked => (
            "El servicio de red de su organización no está listo",
            "Su dispositivo no tiene ningún problema: su organización no ha terminado de conectar su gestión de \
             dispositivos.",
        ),
        Why::Rule => (
            "Las reglas de su organización lo limitan aquí",
            "Su dispositivo está en regla. Su acceso a esta red está limitado por otro motivo, que el soporte informático \
             puede indicarle.",
        ),
    },
    step: |step| match step {
        Step::OpenPortal => {
            "Abra la aplicación Portal de empresa en este dispositivo, o el sitio web que aparece abajo, e inicie sesión \
             con su cuenta de trabajo."
        }
        Step::ChooseDevice => "Elija este dispositivo. Allí se indica qué hay que cambiar y cómo.",
        Step::CheckStatus => "Siga las indicaciones y elija «Comprobar estado» (o «Comprobar acceso»).",
        Step::CheckAgain => "Vuelva a esta página y pulse «Comprobar de nuevo».",
        Step::KeepOn => "Deje el dispositivo encendido y conectado.",
        Step::Enroll => {
            "Instale la aplicación Portal de empresa desde la tienda de aplicaciones de su dispositivo, inicie sesión con \
             su cuenta de trabajo y siga los pasos para inscribir este dispositivo."
        }
        Step::FixedAddress => {
            "Abra los ajustes de esta red en su dispositivo y desactive «Dirección Wi-Fi privada» (o «Direcciones de \
             hardware aleatorias», «MAC aleatoria»)."
        }
        Step::Sync => {
            "Abra la aplicación Portal de empresa, elija este dispositivo y después «Sincronizar» o «Comprobar estado»."
        }
        Step::Reconnect => "Desconéctese de esta red y vuelva a conectarse.",
        Step::AskHelp => "Pida ayuda al soporte informático de su organización y muéstrele esta página.",
    },
};
