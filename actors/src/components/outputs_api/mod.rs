//! `panther-outputs-api`: destinations of alerts. Their configuration holds secrets and is sealed before it is proposed.

use std::str::FromStr;

use bytes::Bytes;
use futures::future::BoxFuture;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_detections::pack::Severity;
use panther_proto::v1::outputs_api::{self, OutputsApi};
use panther_proto::v1::{
    AddOutputRequest, DeleteOutputAnswer, DeleteOutputRequest, DeliveryResponse, GetOutputRequest,
    GetOutputTypesAnswer, GetOutputTypesRequest, GetOutputsAnswer, GetOutputsRequest, OutputField,
    OutputType, OutputValueForm, OutputView, Row, SendTestAlertAnswer, SendTestAlertRequest,
    UpdateOutputRequest,
};
use serde_json::{Value, json};

use crate::api::{Api, ApiCall, ApiError, CallContext};
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::destinations::{
    ConfiguredDestination, DestinationField, DestinationSpec, FieldForm, OutputCache, Response,
    Sender, TABLE, TYPES, Unreachable,
};
use crate::sealing::Sealer;
use crate::supervision::Part;

/// The API.
pub struct OutputsService {
    /// To the table.
    pub door: Door,
    /// Seals configurations.
    pub sealer: Sealer,
    /// Opens them.
    pub outputs: OutputCache,
    /// Sends test alerts.
    pub sender: Sender,
}

/// The function.
///
/// # Errors
/// The HTTP client for destinations cannot be set up.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(OutputsService {
        door: deps.door.clone(),
        sealer: deps.sealer.clone(),
        outputs: OutputCache::new(deps.door.clone(), deps.sealer.clone()),
        sender: deps.sender()?,
    }))
}

impl Api for OutputsService {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Bytes, ApiError>> {
        Box::pin(async move {
            outputs_api::dispatch(self, &call.context, &call.method, call.request.clone())
                .await
                .unwrap_or_else(|| Err(call.unknown_method()))
        })
    }
}

impl OutputsApi<CallContext, ApiError> for OutputsService {
    async fn add_output(
        &self,
        context: &CallContext,
        request: AddOutputRequest,
    ) -> Result<OutputView, ApiError> {
        let config = request.output_config.unwrap_or_default().value();
        let id = self
            .sealer
            .new_id("output", context.request_pair().as_ref());
        let now = rfc3339(self.door.now_ms());
        let routing = Routing::of(
            request.display_name,
            &request.default_for_severity,
            request.alert_types,
        )?;
        let mut view = routing.view(&id, &context.user, &now);
        view.created_by = Some(context.user.clone());
        view.creation_time = Some(now.clone());
        let change = routing
            .change(&id, &context.user, &now)
            .if_row_absent()
            .set("createdBy", &context.user)
            .set("creationTime", &now);
        let change = self.with_config(&id, &config, change, &mut view)?;
        self.commit(context, &id, change, view).await
    }

    async fn update_output(
        &self,
        context: &CallContext,
        request: UpdateOutputRequest,
    ) -> Result<OutputView, ApiError> {
        let id = request.output_id;
        let before = self.view(&id, &self.row(&id).await?);
        let now = rfc3339(self.door.now_ms());
        let routing = Routing::of(
            request.display_name,
            &request.default_for_severity,
            request.alert_types,
        )?;
        let mut view = OutputView {
            created_by: before.created_by,
            creation_time: before.creation_time,
            needs_secret: before.needs_secret,
            output_type: before.output_type,
            address: before.address,
            output_config: before.output_config,
            ..routing.view(&id, &context.user, &now)
        };
        let mut change = routing.change(&id, &context.user, &now).if_row_present();
        let config = request.output_config.map(|config| config.value());
        if let Some(config) = config.filter(|config| !config.is_null()) {
            change = self.with_config(&id, &config, change, &mut view)?;
        }
        self.commit(context, &id, change, view).await
    }

    async fn get_output(
        &self,
        _: &CallContext,
        request: GetOutputRequest,
    ) -> Result<OutputView, ApiError> {
        let row = self.row(&request.output_id).await?;
        Ok(self.view(&request.output_id, &row))
    }

    async fn get_outputs(
        &self,
        _: &CallContext,
        _: GetOutputsRequest,
    ) -> Result<GetOutputsAnswer, ApiError> {
        let rows = self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        let outputs = rows.iter().map(|(key, row)| self.view(&key.hash, row));
        Ok(GetOutputsAnswer {
            outputs: outputs.collect(),
        })
    }

    async fn get_output_types(
        &self,
        _: &CallContext,
        _: GetOutputTypesRequest,
    ) -> Result<GetOutputTypesAnswer, ApiError> {
        let types = TYPES.iter().map(|of| described(&of.spec));
        Ok(GetOutputTypesAnswer {
            types: types.collect(),
        })
    }

    async fn delete_output(
        &self,
        context: &CallContext,
        request: DeleteOutputRequest,
    ) -> Result<DeleteOutputAnswer, ApiError> {
        let id = request.output_id;
        let delete = Change::delete(TABLE, change::key(&id)).if_row_present();
        self.commit(context, &id, delete, DeleteOutputAnswer {})
            .await
    }

    async fn send_test_alert(
        &self,
        context: &CallContext,
        request: SendTestAlertRequest,
    ) -> Result<SendTestAlertAnswer, ApiError> {
        let mut responses = Vec::new();
        for id in request.output_ids {
            let now_ms = self.door.now_ms();
            let at = rfc3339(now_ms);
            let response = match self.outputs.config(&id).await? {
                Ok(config) => {
                    let alert = test_alert(now_ms);
                    self.sender.send(&id, &config, &alert, at).await
                }
                Err(Unreachable::Gone) => return Err(missing(&id)),
                Err(sealed) => Response::failed(&id, &sealed, at),
            };
            responses.push(response.into());
        }
        // What leaves the system can be part of no command; its record and its answer are one.
        let now_ms = self.door.now_ms();
        let transact = context.transact(now_ms, Vec::new());
        let answer = SendTestAlertAnswer { responses };
        Ok(context.commit(&self.door, transact, answer).await?)
    }
}

/// A type of destination, so that tools can ask for its fields and need not know it.
fn described(spec: &DestinationSpec) -> OutputType {
    let field = |field: &DestinationField| OutputField {
        name: field.name.to_owned(),
        about: field.about.to_owned(),
        form: match field.form {
            FieldForm::Text => OutputValueForm::OutputValueText,
            FieldForm::Path => OutputValueForm::OutputValuePath,
            FieldForm::List => OutputValueForm::OutputValueList,
        }
        .into(),
        required: field.required,
        secret: field.secret,
        address: field.address,
    };
    OutputType {
        name: spec.name.to_owned(),
        key: spec.key.to_owned(),
        output_type: spec.row_type(),
        about: spec.about.to_owned(),
        fields: spec.fields.iter().map(field).collect(),
        example: Some(
            serde_json::from_str::<Value>(spec.example)
                .unwrap_or_default()
                .into(),
        ),
    }
}

impl From<Response> for DeliveryResponse {
    fn from(response: Response) -> Self {
        Self {
            output_id: response.output_id,
            message: response.message,
            status_code: response.status_code.into(),
            success: response.success,
            dispatched_at: response.dispatched_at,
        }
    }
}

fn missing(id: &str) -> ApiError {
    ApiError::NotFound(format!(
        "there is no output {id}; `pantherctl outputs list` shows them"
    ))
}

fn test_alert(now_ms: u64) -> Value {
    json!({"alertId": "", "analysisId": "Test.Alert", "analysisName": "Test alert", "analysisDescription": "This is a test.", "type": "RULE",
        "createdAt": rfc3339(now_ms), "severity": "INFO", "title": "Test alert", "runbook": "Nothing is to be done.", "reference": "", "tags": ["test"],
        "context": {}, "version": "", "logTypes": [], "isTest": true})
}

/// Which alerts a destination gets.
struct Routing {
    display_name: String,
    severities: Vec<String>,
    alert_types: Vec<String>,
}

impl Routing {
    fn of(
        display_name: String,
        severities: &[String],
        alert_types: Vec<String>,
    ) -> Result<Self, ApiError> {
        if display_name.is_empty() || display_name.len() > 255 {
            return Err(ApiError::Invalid(
                "displayName must have 1 to 255 bytes".to_owned(),
            ));
        }
        for severity in severities {
            Severity::from_str(severity)
                .map_err(|error| ApiError::Invalid(format!("defaultForSeverity: {error}")))?;
        }
        for kind in &alert_types {
            if !["RULE", "RULE_ERROR", "POLICY"].contains(&kind.as_str()) {
                return Err(ApiError::Invalid(format!(
                    "alertTypes: {kind} is not one of RULE, RULE_ERROR, POLICY"
                )));
            }
        }
        // As the table holds them: sorted and unique.
        let sorted = |items: Vec<String>| change::set(items).items;
        Ok(Self {
            display_name,
            severities: sorted(severities.iter().map(|name| name.to_uppercase()).collect()),
            alert_types: sorted(alert_types),
        })
    }

    fn change(&self, id: &str, user: &str, now: &str) -> Change {
        Change::update(TABLE, change::key(id))
            .set("displayName", &self.display_name)
            .set("lastModifiedBy", user)
            .set("lastModifiedTime", now)
            .set("defaultForSeverity", self.severities.clone())
            .set("alertTypes", self.alert_types.clone())
    }

    fn view(&self, id: &str, user: &str, now: &str) -> OutputView {
        OutputView {
            output_id: id.to_owned(),
            display_name: Some(self.display_name.clone()),
            default_for_severity: self.severities.clone(),
            alert_types: self.alert_types.clone(),
            last_modified_by: Some(user.to_owned()),
            last_modified_time: Some(now.to_owned()),
            ..OutputView::default()
        }
    }
}

impl OutputsService {
    async fn row(&self, id: &str) -> Result<Row, ApiError> {
        self.door
            .get(TABLE, &change::key(id))
            .await?
            .ok_or_else(|| missing(id))
    }

    /// Adds a configuration to a change, sealed, and to what is shown of it.
    fn with_config(
        &self,
        id: &str,
        config: &Value,
        change: Change,
        view: &mut OutputView,
    ) -> Result<Change, ApiError> {
        let configured = self.sender.read(config).map_err(ApiError::Invalid)?;
        let sealed = self.outputs.seal(id, &configured);
        let sealed = sealed.map_err(|error| ApiError::Internal(error.to_string()))?;
        view.needs_secret = false;
        view.output_type = Some(configured.row_type());
        view.address = Some(configured.address());
        view.output_config = Some(configured.shown().into());
        Ok(change
            .set("encryptedConfig", sealed)
            .set("outputType", configured.row_type()))
    }

    async fn commit<M: prost::Message + Default>(
        &self,
        context: &CallContext,
        id: &str,
        change: Change,
        answer: M,
    ) -> Result<M, ApiError> {
        let transact = context.transact(self.door.now_ms(), vec![change.done()]);
        match context.commit(&self.door, transact, answer).await {
            Err(DoorError::Conflict(_)) => Err(missing(id)),
            other => Ok(other?),
        }
    }

    /// What is shown of a destination. One whose secret does not open is shown too, or it could be neither mended nor removed.
    fn view(&self, id: &str, row: &Row) -> OutputView {
        let config = self.outputs.open(id, row);
        let text = |name: &str| row.text(name).map(str::to_owned);
        OutputView {
            output_id: id.to_owned(),
            needs_secret: config.is_err(),
            display_name: text("displayName"),
            output_type: text("outputType"),
            address: config.as_ref().map(ConfiguredDestination::address).ok(),
            output_config: config.as_ref().map(|config| config.shown().into()).ok(),
            default_for_severity: row.items("defaultForSeverity").to_vec(),
            alert_types: row.items("alertTypes").to_vec(),
            created_by: text("createdBy"),
            creation_time: text("creationTime"),
            last_modified_by: text("lastModifiedBy"),
            last_modified_time: text("lastModifiedTime"),
        }
    }
}
