//! Who reads an answer to its end when its client has gone (`proxy_ignore_client_abort on`)? One task for each worker;
//! what it reads is thrown away, so that the upstream ends its work as if the client were still there.

use super::answer_body::AnswerBody;
use crate::http::message::Source;
use std::future::poll_fn;
use std::rc::Rc;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Takes bodies that nobody waits for.
#[derive(Clone)]
pub(super) struct Leftovers(Rc<UnboundedSender<AnswerBody>>);

impl Leftovers {
    /// Starts the task. Must be called within the worker's `LocalSet`.
    pub(super) fn new() -> Leftovers {
        let (sender, mut bodies) = unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Some(body) = bodies.recv().await {
                tokio::task::spawn_local(read(body));
            }
        });
        Leftovers(Rc::new(sender))
    }

    /// Reads `body` to its end, within the upstream's own timeouts.
    pub(super) fn read(&self, body: AnswerBody) {
        // Fails only when the worker ends, and then the body is dropped, which closes its connection.
        let _ = self.0.send(body);
    }
}

async fn read(mut body: AnswerBody) {
    while let Some(Ok(_)) = poll_fn(|cx| body.poll_chunk(cx)).await {}
}
