"""Where in FreeSWITCH 1.10.12 each event is made: the ``Event-Calling-*`` headers."""

from __future__ import annotations

from typing import Final

from callengine.standin.events import Source

_STATE_MACHINE: Final = "switch_core_state_machine.c"
_SESSION: Final = "switch_core_session.c"
_CHANNEL: Final = "switch_channel.c"

OUTGOING: Final = Source(_SESSION, "switch_core_session_outgoing_channel", "768")
STATE: Final = Source(_CHANNEL, "switch_channel_perform_set_running_state", "2408")
CREATE: Final = Source(_STATE_MACHINE, "switch_core_session_run", "626")
ORIGINATE: Final = Source(_STATE_MACHINE, "switch_core_session_run", "632")
PROGRESS: Final = Source(_CHANNEL, "switch_channel_perform_mark_ring_ready_value", "3505")
PROGRESS_MEDIA: Final = Source(_CHANNEL, "switch_channel_perform_mark_pre_answered", "3560")
CALLSTATE: Final = Source(_CHANNEL, "switch_channel_perform_set_callstate", "301")
READ_CODEC: Final = Source("switch_core_codec.c", "switch_core_session_set_real_read_codec", "168")
WRITE_CODEC: Final = Source("switch_core_codec.c", "switch_core_session_set_write_codec", "450")
ANSWER: Final = Source(_CHANNEL, "switch_channel_perform_mark_answered", "3846")
FLIP_CID: Final = Source(_CHANNEL, "switch_channel_flip_cid", "3277")
EXECUTE: Final = Source(_SESSION, "switch_core_session_exec", "2944")
EXECUTE_COMPLETE: Final = Source(_SESSION, "switch_core_session_exec", "2967")
PARK: Final = Source("switch_ivr.c", "switch_ivr_park", "1002")
UNPARK: Final = Source("switch_ivr.c", "switch_ivr_park", "1213")
SOFT_EXECUTE: Final = Source("switch_ivr_bridge.c", "uuid_bridge_on_soft_execute", "1236")
BRIDGE: Final = Source("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1689")
UNBRIDGE: Final = Source("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1879")
CALL_UPDATE: Final = Source("mod_sofia.c", "sofia_receive_message", "2100")
HOLD: Final = Source("switch_ivr.c", "switch_ivr_hold", "1558")
UNHOLD: Final = Source("switch_ivr.c", "switch_ivr_unhold", "1638")
HANGUP: Final = Source(_CHANNEL, "switch_channel_perform_hangup", "3445")
HANGUP_COMPLETE: Final = Source(_STATE_MACHINE, "switch_core_session_reporting_state", "943")
DESTROY: Final = Source(_SESSION, "switch_core_session_perform_destroy", "1584")
SET_UUID: Final = Source(_SESSION, "switch_core_session_set_uuid", "2051")
RECORD_START: Final = Source("switch_ivr_async.c", "record_callback", "1481")
RECORD_STOP: Final = Source("switch_ivr_async.c", "send_record_stop_event", "1240")
BUG_START: Final = Source("switch_core_media_bug.c", "switch_core_media_bug_add", "1014")
BUG_STOP: Final = Source("switch_core_media_bug.c", "switch_core_media_bug_destroy", "84")
DTMF: Final = Source(_CHANNEL, "switch_channel_dequeue_dtmf", "636")
API: Final = Source("switch_loadable_module.c", "switch_api_execute", "2954")
JOB: Final = Source("mod_event_socket.c", "api_exec", "1572")
SENDEVENT: Final = Source("mod_event_socket.c", "parse_command", "2275")
HEARTBEAT: Final = Source("switch_core.c", "send_heartbeat", "95")
SHUTDOWN: Final = Source("switch_core.c", "switch_core_destroy", "3023")
RELOADXML: Final = Source("switch_xml.c", "switch_xml_open_root", "2487")
DUMP: Final = Source("mod_commands.c", "uuid_dump_function", "6468")
CC_MEMBER: Final = Source("mod_callcenter.c", "callcenter_function", "3113")
CC_COUNT: Final = Source("mod_callcenter.c", "cc_queue_count", "878")
CC_AGENT: Final = Source("mod_callcenter.c", "cc_agent_update", "1067")
CC_OFFER: Final = Source("mod_callcenter.c", "outbound_agent_thread_run", "1717")
CC_BRIDGE: Final = Source("mod_callcenter.c", "outbound_agent_thread_run", "1934")
CC_BRIDGE_END: Final = Source("mod_callcenter.c", "outbound_agent_thread_run", "2062")
CC_MEMBER_END: Final = Source("mod_callcenter.c", "outbound_agent_thread_run", "2098")
