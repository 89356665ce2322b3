//! The other nodes, as the table of challenges sees them: they are told of what is opened here, asked for what is not known
//! here, and waited for before an authority looks. Over the link, and through etcd where it is shared there too.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::fleet::message::{Look, Token};
use crate::peer;
use crate::zone::challenges::{Kind, Others, Told};

use super::core::Core;
use super::{Ear, Said, lock};

/// Questions of authorities for which other nodes are asked at once, and for how long each.
const ASKING: usize = 32;
const ASKED: Duration = Duration::from_millis(1000);
/// An order waits no longer than this for nodes that do not say that they answer.
const ANSWERS: Duration = Duration::from_secs(4);

/// The other nodes.
pub(super) struct Answers {
    ear: Ear,
    core: Arc<Mutex<Core>>,
    asking: Semaphore,
}

impl Answers {
    /// Told by `ear`, known to `core`.
    pub(super) fn new(ear: Ear, core: Arc<Mutex<Core>>) -> Answers {
        Answers { ear, core, asking: Semaphore::new(ASKING) }
    }
}

impl Others for Answers {
    fn opened(&self, told: &Told) {
        let look = match told.kind {
            Kind::Http01 => Look::Http01,
            Kind::TlsAlpn01 => Look::TlsAlpn01,
        };
        let (token, name, answer) = (told.token.clone(), told.name.to_string(), told.key_authorization.clone());
        self.ear.say(Said::Opened(Token { look, token, name, answer, remaining: told.remaining }));
    }

    fn closed(&self, token: &str) {
        self.ear.say(Said::Closed(token.to_owned()));
    }

    fn ask(&self, token: &str) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let token = token.to_owned();
        Box::pin(async move {
            // Whoever asks for tokens that nobody knows shall not wait behind others who do so.
            let Ok(_place) = self.asking.try_acquire() else { return };
            let (done, wait) = oneshot::channel();
            self.ear.say(Said::Ask(token.clone(), done));
            let etcd = lock(&self.core).etcd.clone();
            let found = async {
                match &etcd {
                    Some(etcd) if etcd.is_live() => etcd.find_token(&token).await,
                    _ => std::future::pending().await,
                }
            };
            let asked = async {
                tokio::select! {
                    _ = wait => {}
                    Some(token) = found => lock(&self.core).foreign_token(token),
                }
            };
            let _ = tokio::time::timeout(ASKED, asked).await;
        })
    }

    fn spread(&self, tokens: Vec<String>) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>> {
        Box::pin(async move {
            let (done, wait) = oneshot::channel();
            self.ear.say(Said::Spread(tokens.clone(), done));
            let etcd = lock(&self.core).etcd.clone();
            let shown = async {
                if let Some(etcd) = etcd {
                    etcd.spread(&tokens).await;
                }
            };
            let (answered, ()) = tokio::join!(tokio::time::timeout(ANSWERS, wait), shown);
            let silent = match answered {
                Ok(_) => Vec::new(),
                Err(_) => lock(&self.core).tokens.lacking(&tokens),
            };
            let away = lock(&self.core).links.calls().into_iter().filter_map(|(peer, call)| match call {
                peer::Call::Failed { why, .. } => Some(format!("{peer} ({why})")),
                _ => None,
            });
            silent.into_iter().map(|node| format!("node {} (silent)", node.short())).chain(away).collect()
        })
    }
}
