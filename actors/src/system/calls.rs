//! Calls of API functions: looked at, recorded, and handed to the component that answers.

use bytes::Bytes;
use panther_proto::methods::{Method, methods};
use panther_proto::trace::TraceContext;
use panther_proto::v1::{Role, node_api};
use serde_json::Value;

use super::System;
use crate::api::{ApiCall, ApiError, CallContext, RequestId};
use crate::audit::AuditRecord;
use crate::catalogue::{Built, FindError};
use crate::components::catalogue;
use crate::sealing::Sealer;
use crate::views::Views;

/// What answers for the node itself, in place of a component.
const NODE: &str = "node";

/// Who calls.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The user; empty if the caller did not say.
    pub user: String,
    /// Makes a retry of a changing call one effect with one answer.
    pub request: Option<RequestId>,
    /// The trace of the call, and its span.
    pub trace: Option<TraceContext>,
}

impl Caller {
    /// Whether the caller has a role. There are no roles yet: a user who may open the socket of the node is its administrator.
    const fn has(&self, _role: Role) -> bool {
        true
    }
}

impl System {
    /// Calls a method with an encoded request; the encoded answer.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn call(
        &self,
        method: &'static Method,
        caller: Caller,
        request: Bytes,
    ) -> Result<Bytes, ApiError> {
        let asked = method.look_at(request.clone())?;
        if let Some(name) = asked.missing {
            return Err(ApiError::Invalid(format!("{method} needs {name}")));
        }
        if !caller.has(method.role) {
            return Err(ApiError::Invalid(format!(
                "{method} takes the role {}",
                method.role.as_str_name()
            )));
        }
        let user = if caller.user.is_empty() {
            asked.user
        } else {
            caller.user
        };
        if !method.changes {
            let call = ApiCall::of(method, request, CallContext::reading(user));
            return self.hand_on(&method.component, call).await;
        }
        let record = AuditRecord::new(&method.component, &method.operation, user, asked.subject);
        let record = record.of_trace(caller.trace);
        let context = self.changing(method.to_string(), record, caller.request);
        let call = ApiCall::of(method, request, context);
        self.change(method.component.clone(), call).await
    }

    /// Calls a method with a request in JSON form; the answer in JSON form. `method` is named as `OutputsApi.AddOutput` or by its path in gRPC.
    ///
    /// # Errors
    /// There is no such method, the JSON is not of its request's form, or as [`ApiError`] says.
    pub async fn call_json(
        &self,
        method: &str,
        caller: Caller,
        request: &Value,
    ) -> Result<Value, ApiError> {
        let path = if method.starts_with('/') {
            method.to_owned()
        } else {
            format!("/panther.v1.{}", method.replacen('.', "/", 1))
        };
        let method = methods()
            .by_path(&path)
            .ok_or_else(|| ApiError::NotFound(format!("there is no method {method}")))?;
        let request = method.request_from_json(request).map_err(|error| {
            ApiError::Invalid(format!("the input of {method} is wrong: {error}"))
        })?;
        let answer = self.call(method, caller, request).await?;
        method.answer_to_json(answer).map_err(ApiError::from)
    }

    fn changing(
        &self,
        method: String,
        record: AuditRecord,
        request: Option<RequestId>,
    ) -> CallContext {
        let sealer = Sealer::new(&self.inner.settings.sealing_key);
        CallContext::changing(method, record, request, sealer)
    }

    /// Carries out a change. It goes on where the caller hangs up: a retry finds what came of it.
    async fn change(&self, component: String, call: ApiCall) -> Result<Bytes, ApiError> {
        let system = self.clone();
        let change = tokio::spawn(async move {
            let (door, context) = (&system.inner.settings.door, call.context.clone());
            // A retry that comes while the first call is under way waits for its answer.
            let _turn = match &context.request {
                Some(request) => Some(system.inner.turns.of(&request.id).await),
                None => None,
            };
            if let Some(first) = context.answered(door).await? {
                return Ok(first.into());
            }
            let result = system.hand_on(&component, call).await;
            context.record(door, result.as_ref().err()).await;
            result
        });
        change
            .await
            .map_err(|error| ApiError::Internal(format!("a defect ended the call: {error}")))?
    }

    /// Hands a call to the component that answers it.
    async fn hand_on(&self, component: &str, call: ApiCall) -> Result<Bytes, ApiError> {
        if component == NODE {
            let views = self.views();
            return node_api::dispatch(&views, &call.context, &call.method, call.request.clone())
                .await
                .unwrap_or_else(|| Err(call.unknown_method()));
        }
        let entry = match catalogue().find(component) {
            Ok(entry) => entry,
            // A name of two kinds means the function: the others take no calls of this form.
            Err(FindError::Ambiguous { name, .. }) => catalogue()
                .find(&format!("{name}/function"))
                .map_err(|error| ApiError::NotFound(error.to_string()))?,
            Err(error) => return Err(ApiError::NotFound(error.to_string())),
        };
        if entry.built == Built::No {
            return Err(ApiError::NotBuilt(format!(
                "{} is not built in this version. {}",
                entry.identity(),
                entry.built_note
            )));
        }
        self.inner.supervisor.call(&entry.identity(), call).await
    }

    fn views(&self) -> Views<'_> {
        let inner = &self.inner;
        Views {
            door: &inner.settings.door,
            objects: &inner.settings.objects,
            supervisor: &inner.supervisor,
            alarms: &inner.alarms,
            members: &inner.members,
            live: &inner.live,
            sources: &inner.deps.sources,
            pause: &inner.pause,
            identity: &inner.identity,
        }
    }
}
