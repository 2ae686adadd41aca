//! The node's own views for operators: what runs, what waits, what is wrong. Reads, and the few changes that an operator
//! makes to queues.
//!
//! * [`status`]: one look at everything
//! * [`queues`]: counts, peek, send, purge, requeue
//! * [`tables`]: rows of tables
//! * [`members`]: the cluster's nodes
//! * [`quarantine`]: lines that no log type took, and their replay
//! * [`storage`]: what takes the room, how long it is kept
//! * [`trace`]: one event's way, and the ledger

mod json;
mod members;
mod quarantine;
pub(crate) mod queues;
mod status;
mod storage;
mod tables;
mod trace;

use bytes::Bytes;
use panther_cluster::door::{Door, Local};
use panther_cluster::membership::{self, Members};
use panther_cluster::objects::Objects;
use panther_proto::methods::Method;
use panther_proto::v1::node_api::NodeApi;
use panther_proto::v1::{
    AlarmsAnswer, AlarmsRequest, ClusterAcceptTimeRequest, ClusterAnswer, ClusterDrainAnswer,
    ClusterDrainRequest, ClusterForceTimeRequest, ClusterInviteAnswer, ClusterInviteRequest,
    ClusterLeadAnswer, ClusterLeadRequest, ClusterRaiseFormatAnswer, ClusterRaiseFormatRequest,
    ClusterRemoveAnswer, ClusterRemoveRequest, ClusterRequest, ClusterRotateAuthorityAnswer,
    ClusterRotateAuthorityRequest, ClusterVotersAnswer, ClusterVotersRequest, ComponentsAnswer,
    ComponentsRequest, DeleteAnswer, DeleteRequest, DescribeRequest, Json, LedgerAnswer,
    LedgerRequest, ObjectGetAnswer, ObjectGetRequest, PeekAnswer, PeekRequest, PurgeAnswer,
    PurgeRequest, QuarantineAnswer, QuarantineReplayAnswer, QuarantineReplayRequest,
    QuarantineRequest, QuarantineShowAnswer, QuarantineShowRequest, QueueRequest, QueueView,
    QueuesAnswer, QueuesRequest, RequeueAnswer, RequeueRequest, ResumeAnswer, ResumeRequest,
    RunbookAnswer, RunbookRequest, SendAnswer, SendRequest, SnapshotAnswer, SnapshotRequest,
    StatusAnswer, StatusRequest, StorageAnswer, StorageCollectAnswer, StorageCollectRequest,
    StorageRequest, StorageRetainAnswer, StorageRetainRequest, TableGetAnswer, TableGetRequest,
    TableScanAnswer, TableScanRequest, TablesAnswer, TablesRequest, TimeSetAnswer, TraceAnswer,
    TraceRequest, Transact,
};
use prost::Message;

use crate::alarms::Alarms;
use crate::api::{ApiError, CallContext};
use crate::components::pack::LivePack;
use crate::components::sources::SourceRegistry;
use crate::pause::Pause;
use crate::supervision::Supervisor;
use quarantine::Which;

pub use status::Identity;

/// Answers a method that needs no leader by what a node knows that waits for one; `behind` says why it waits.
///
/// # Errors
/// Its state cannot be read, or the method needs a leader.
pub async fn of_waiting(
    local: &Local,
    identity: &Identity,
    method: &Method,
    behind: &str,
) -> Result<Bytes, ApiError> {
    let answer = match method.name.as_str() {
        "Status" => status::waiting(local, identity, behind)
            .await?
            .encode_to_vec(),
        "Alarms" => {
            let raised = crate::alarms::written(local).await;
            let raised = raised.map_err(|error| ApiError::Internal(error.to_string()))?;
            status::listed(raised, Some(behind)).encode_to_vec()
        }
        "Cluster" => {
            let look = membership::look_here(local, behind.to_owned()).await;
            members::of_look(&look, local).encode_to_vec()
        }
        _ => {
            return Err(ApiError::Unavailable(format!(
                "the node is starting: {behind}"
            )));
        }
    };
    Ok(answer.into())
}

/// A count as messages hold it.
fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A limit that a caller gave, or the usual one.
fn at_most(given: Option<u64>, usual: usize) -> usize {
    given.map_or(usual, |given| usize::try_from(given).unwrap_or(usize::MAX))
}

/// What the views look at.
pub struct Views<'a> {
    /// To queues and tables.
    pub door: &'a Door,
    /// The object store.
    pub objects: &'a Objects,
    /// All actors.
    pub supervisor: &'a Supervisor,
    /// Alarms.
    pub alarms: &'a Alarms,
    /// The cluster's nodes.
    pub members: &'a Members,
    /// The live pack.
    pub live: &'a LivePack,
    /// Log sources.
    pub sources: &'a SourceRegistry,
    /// Whether the cluster is paused.
    pub pause: &'a Pause,
    /// The node.
    pub identity: &'a Identity,
}

impl NodeApi<CallContext, ApiError> for Views<'_> {
    async fn status(&self, _: &CallContext, _: StatusRequest) -> Result<StatusAnswer, ApiError> {
        self.node_status().await
    }

    async fn components(
        &self,
        _: &CallContext,
        _: ComponentsRequest,
    ) -> Result<ComponentsAnswer, ApiError> {
        Ok(self.all_components())
    }

    async fn describe(&self, _: &CallContext, request: DescribeRequest) -> Result<Json, ApiError> {
        self.entry(&request.component)
    }

    async fn runbook(&self, _: &CallContext, _: RunbookRequest) -> Result<RunbookAnswer, ApiError> {
        Ok(RunbookAnswer {
            markdown: crate::catalogue::markdown(crate::components::catalogue()),
        })
    }

    async fn alarms(
        &self,
        _: &CallContext,
        request: AlarmsRequest,
    ) -> Result<AlarmsAnswer, ApiError> {
        self.alarm_list(request.all).await
    }

    async fn queues(&self, _: &CallContext, _: QueuesRequest) -> Result<QueuesAnswer, ApiError> {
        self.all_queues().await
    }

    async fn queue(&self, _: &CallContext, request: QueueRequest) -> Result<QueueView, ApiError> {
        self.one_queue(&request.name).await
    }

    async fn peek(&self, _: &CallContext, request: PeekRequest) -> Result<PeekAnswer, ApiError> {
        self.messages(request).await
    }

    async fn send(
        &self,
        context: &CallContext,
        request: SendRequest,
    ) -> Result<SendAnswer, ApiError> {
        self.send_message(context, request).await
    }

    async fn purge(
        &self,
        context: &CallContext,
        request: PurgeRequest,
    ) -> Result<PurgeAnswer, ApiError> {
        self.purge_queue(context, &request.queue).await
    }

    async fn delete(
        &self,
        context: &CallContext,
        request: DeleteRequest,
    ) -> Result<DeleteAnswer, ApiError> {
        self.delete_message(context, request).await
    }

    async fn requeue(
        &self,
        context: &CallContext,
        request: RequeueRequest,
    ) -> Result<RequeueAnswer, ApiError> {
        self.requeue_messages(context, request).await
    }

    async fn tables(&self, _: &CallContext, _: TablesRequest) -> Result<TablesAnswer, ApiError> {
        self.all_tables().await
    }

    async fn table_get(
        &self,
        _: &CallContext,
        request: TableGetRequest,
    ) -> Result<TableGetAnswer, ApiError> {
        self.row_of(request).await
    }

    async fn table_scan(
        &self,
        _: &CallContext,
        request: TableScanRequest,
    ) -> Result<TableScanAnswer, ApiError> {
        self.scan(request).await
    }

    async fn quarantine(
        &self,
        _: &CallContext,
        request: QuarantineRequest,
    ) -> Result<QuarantineAnswer, ApiError> {
        let which = Which {
            source: request.source,
            object: request.object,
        };
        self.groups(&which, request.limit).await
    }

    async fn quarantine_show(
        &self,
        _: &CallContext,
        request: QuarantineShowRequest,
    ) -> Result<QuarantineShowAnswer, ApiError> {
        self.records(&request.object, request.limit).await
    }

    async fn quarantine_replay(
        &self,
        context: &CallContext,
        request: QuarantineReplayRequest,
    ) -> Result<QuarantineReplayAnswer, ApiError> {
        let which = Which {
            source: request.source,
            object: request.object,
        };
        self.replay(context, &which).await
    }

    async fn ledger(
        &self,
        _: &CallContext,
        request: LedgerRequest,
    ) -> Result<LedgerAnswer, ApiError> {
        self.hours_of(request.source, request.hours).await
    }

    async fn trace(&self, _: &CallContext, request: TraceRequest) -> Result<TraceAnswer, ApiError> {
        self.way_of(&request.event).await
    }

    async fn storage(&self, _: &CallContext, _: StorageRequest) -> Result<StorageAnswer, ApiError> {
        self.stored().await
    }

    async fn storage_retain(
        &self,
        context: &CallContext,
        request: StorageRetainRequest,
    ) -> Result<StorageRetainAnswer, ApiError> {
        self.retain(context, request).await
    }

    async fn storage_collect(
        &self,
        context: &CallContext,
        request: StorageCollectRequest,
    ) -> Result<StorageCollectAnswer, ApiError> {
        self.collect(context, request.dry_run).await
    }

    async fn object_get(
        &self,
        _: &CallContext,
        request: ObjectGetRequest,
    ) -> Result<ObjectGetAnswer, ApiError> {
        self.piece(request).await
    }

    async fn resume(
        &self,
        context: &CallContext,
        _: ResumeRequest,
    ) -> Result<ResumeAnswer, ApiError> {
        let base = context.transact(self.door.now_ms(), Vec::new());
        let was_paused = crate::pause::resume(self.door, base).await?;
        self.finished(context, ResumeAnswer { was_paused }).await
    }

    async fn snapshot(
        &self,
        context: &CallContext,
        _: SnapshotRequest,
    ) -> Result<SnapshotAnswer, ApiError> {
        let taken = self.door.group().snapshot().await;
        taken.map_err(|error| ApiError::Unavailable(error.to_string()))?;
        self.finished(context, SnapshotAnswer {}).await
    }

    async fn cluster(&self, _: &CallContext, _: ClusterRequest) -> Result<ClusterAnswer, ApiError> {
        Ok(self.nodes().await)
    }

    async fn cluster_invite(
        &self,
        context: &CallContext,
        request: ClusterInviteRequest,
    ) -> Result<ClusterInviteAnswer, ApiError> {
        self.invite(context, request).await
    }

    async fn cluster_drain(
        &self,
        context: &CallContext,
        request: ClusterDrainRequest,
    ) -> Result<ClusterDrainAnswer, ApiError> {
        self.drain(context, request).await
    }

    async fn cluster_remove(
        &self,
        context: &CallContext,
        request: ClusterRemoveRequest,
    ) -> Result<ClusterRemoveAnswer, ApiError> {
        let node = request.node;
        let answer = ClusterRemoveAnswer { node };
        let base = self.base(context, &answer);
        self.members.remove(node, base).await?;
        Ok(context.given(self.door, answer).await?)
    }

    async fn cluster_voters(
        &self,
        context: &CallContext,
        request: ClusterVotersRequest,
    ) -> Result<ClusterVotersAnswer, ApiError> {
        let voters = request.voters;
        let answer = ClusterVotersAnswer { voters };
        let base = self.base(context, &answer);
        self.members.set_voters(voters, base).await?;
        Ok(context.given(self.door, answer).await?)
    }

    async fn cluster_lead(
        &self,
        context: &CallContext,
        request: ClusterLeadRequest,
    ) -> Result<ClusterLeadAnswer, ApiError> {
        let leader = request.node;
        self.members.lead(leader).await?;
        self.finished(context, ClusterLeadAnswer { leader }).await
    }

    async fn cluster_raise_format(
        &self,
        context: &CallContext,
        _: ClusterRaiseFormatRequest,
    ) -> Result<ClusterRaiseFormatAnswer, ApiError> {
        let format = self.members.raise_format().await?;
        self.finished(context, ClusterRaiseFormatAnswer { format })
            .await
    }

    async fn cluster_rotate_authority(
        &self,
        context: &CallContext,
        _: ClusterRotateAuthorityRequest,
    ) -> Result<ClusterRotateAuthorityAnswer, ApiError> {
        let answer = ClusterRotateAuthorityAnswer { asked: true };
        let base = self.base(context, &answer);
        self.members.rotate_authority(base).await?;
        Ok(context.given(self.door, answer).await?)
    }

    async fn cluster_accept_time(
        &self,
        context: &CallContext,
        _: ClusterAcceptTimeRequest,
    ) -> Result<TimeSetAnswer, ApiError> {
        let set = self.door.accept_time().await?;
        self.finished(context, members::time_set(set)).await
    }

    async fn cluster_force_time(
        &self,
        context: &CallContext,
        _: ClusterForceTimeRequest,
    ) -> Result<TimeSetAnswer, ApiError> {
        let set = self.door.force_time().await?;
        self.finished(context, members::time_set(set)).await
    }
}

impl Views<'_> {
    /// The base of a change that is one command of another part of the cluster: request id, audit record and answer are part of it.
    fn base<M: Message>(&self, context: &CallContext, answer: &M) -> Transact {
        let mut base = context.transact(self.door.now_ms(), Vec::new());
        context.answer_with(&mut base, answer);
        base
    }

    /// Ends a change that has commands of its own: its audit record, if it has none yet, and its answer, for a retry, are one command.
    async fn finished<M: Message + Default>(
        &self,
        context: &CallContext,
        answer: M,
    ) -> Result<M, ApiError> {
        let transact = context.ending(self.door.now_ms());
        Ok(context.commit(self.door, transact, answer).await?)
    }
}
