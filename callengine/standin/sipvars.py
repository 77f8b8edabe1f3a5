"""The SIP and media variables that a channel collects on its way, in the order in which the real one sets them.

They are what makes an event as large as FreeSWITCH's (a CHANNEL_HANGUP_COMPLETE is some 9,800 bytes). Addresses and
tags are made up; the numbers are those of the call.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from callengine.standin.channels import Channel

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyzABCDEFGHJKMNPQRSTUVWXYZ"


def token(rng: random.Random, length: int = 13) -> str:
    """A SIP tag or branch."""
    return "".join(rng.choices(_ALPHABET, k=length))


class Wire(NamedTuple):
    """Where the far end of a leg is, and what its dialog is called."""

    number: str
    host: str
    port: str
    local_port: int
    remote_port: int
    branch: str
    from_tag: str
    to_tag: str
    cseq: int
    call_id: str

    @property
    def uri(self) -> str:
        return f"{self.number}@{self.host}:{self.port}"


def make_wire(rng: random.Random, number: str, host: str, port: str, call_id: str) -> Wire:
    return Wire(
        number=number,
        host=host,
        port=port,
        local_port=rng.randrange(16384, 32766, 2),
        remote_port=rng.randrange(4000, 12000, 2),
        branch=token(rng),
        from_tag=token(rng),
        to_tag=token(rng, 15),
        cseq=rng.randrange(123_000_000, 124_000_000),
        call_id=call_id,
    )


def _local_sdp(port: int, codecs: str) -> str:
    rtpmap = "".join(
        f"a=rtpmap:{number} {name}\r\n"
        for number, name in (("0", "PCMU/8000"), ("8", "PCMA/8000"), ("101", "telephone-event/8000"))
        if number in codecs.split()
    )
    return (
        f"v=0\r\no=FreeSWITCH {1_795_300_000 + port} {1_795_300_001 + port} IN IP4 127.0.0.1\r\ns=FreeSWITCH\r\n"
        f"c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {codecs}\r\n{rtpmap}a=fmtp:101 0-15\r\n"
        "a=rtpmap:13 CN/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )


def remote_sdp(port: int) -> str:
    return (
        "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        "a=fmtp:101 0-15\r\n"
    )


def invite_sent(channel: Channel, wire: Wire, profile: str, *, offers: str) -> None:
    """What a leg has once its INVITE is out: local media and the request."""
    alone = "8" in offers.split()
    channel.set_all(
        {
            "rtp_use_codec_string": "PCMU,PCMA" if alone else "PCMU@8000h@20i",
            "local_media_ip": "127.0.0.1",
            "local_media_port": str(wire.local_port),
            "advertised_media_ip": "127.0.0.1",
            "audio_media_flow": "sendrecv",
            **({} if alone else {"video_media_flow": "inactive"}),
            "rtp_local_sdp_str": _local_sdp(wire.local_port, offers),
            "sip_outgoing_contact_uri": "<sip:mod_sofia@127.0.0.1:5060>",
            "sip_req_uri": wire.uri,
            "sip_to_host": f"{wire.host}:{wire.port}",
            "sip_from_host": "127.0.0.1",
            "sofia_profile_name": profile,
            "recovery_profile_name": profile,
            "sofia_profile_url": "sip:mod_sofia@127.0.0.1:5060",
        }
    )


def _reply_from(wire: Wire) -> dict[str, str]:
    return {
        "sip_local_network_addr": "127.0.0.1",
        "sip_reply_host": wire.host,
        "sip_reply_port": wire.port,
        "sip_network_ip": wire.host,
        "sip_network_port": wire.port,
    }


def provisional_received(channel: Channel, wire: Wire) -> None:
    """What the first 18x or 200 adds: the dialog."""
    if channel.get("sip_call_id"):
        return
    caller = channel.profile.caller_id_number
    display = channel.profile.caller_id_name
    channel.profile.network_addr = wire.host
    channel.set_all(
        {
            **_reply_from(wire),
            "sip_recover_contact": f"<sip:{wire.host}:{wire.port};transport=UDP>",
            "sip_full_via": f"SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{wire.branch}",
            "sip_recover_via": f"SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{wire.branch}",
            "sip_from_display": display,
            "sip_full_from": f'"{display}" <sip:{caller}@127.0.0.1>;tag={wire.from_tag}',
            "sip_full_to": f"<sip:{wire.uri}>;tag={wire.to_tag}",
            "sip_from_user": caller,
            "sip_from_uri": f"{caller}@127.0.0.1",
            "sip_from_host": "127.0.0.1",
            "sip_to_user": wire.number,
            "sip_to_port": wire.port,
            "sip_to_uri": wire.uri,
            "sip_to_host": wire.host,
            "sip_contact_params": "transport=UDP",
            "sip_contact_user": "nobody",
            "sip_contact_port": wire.port,
            "sip_contact_uri": f"nobody@{wire.host}:{wire.port}",
            "sip_contact_host": wire.host,
            "sip_to_tag": wire.to_tag,
            "sip_from_tag": wire.from_tag,
            "sip_cseq": str(wire.cseq),
            "sip_call_id": wire.call_id,
        }
    )


def media_negotiated(channel: Channel, wire: Wire) -> None:
    """What an answer's (or a 183's) SDP adds."""
    if channel.get("switch_r_sdp") and channel.get("rtp_use_ssrc"):
        return
    channel.codec = "PCMU"
    channel.set_all(
        {
            "switch_r_sdp": remote_sdp(wire.remote_port),
            "ep_codec_string": "CORE_PCM_MODULE.PCMU@8000h@20i@64000b",
            "rtp_use_codec_string": channel.get("rtp_use_codec_string"),
            "remote_video_media_flow": "inactive",
            "remote_text_media_flow": "inactive",
            "remote_audio_media_flow": "sendrecv",
            "rtp_audio_recv_pt": "0",
            "rtp_use_codec_name": "PCMU",
            "rtp_use_codec_rate": "8000",
            "rtp_use_codec_ptime": "20",
            "rtp_use_codec_channels": "1",
            "rtp_last_audio_codec_string": "PCMU@8000h@20i@1c",
            "read_codec": "PCMU",
            "original_read_codec": "PCMU",
            "read_rate": "8000",
            "original_read_rate": "8000",
            "write_codec": "PCMU",
            "write_rate": "8000",
            "dtmf_type": "rfc2833",
            "local_media_ip": "127.0.0.1",
            "local_media_port": str(wire.local_port),
            "advertised_media_ip": "127.0.0.1",
            "rtp_use_timer_name": "soft",
            "rtp_use_pt": "0",
            "rtp_use_ssrc": str(100_000_000 + wire.cseq * 7),
            "rtp_2833_send_payload": "101",
            "rtp_2833_recv_payload": "101",
            "remote_media_ip": wire.host,
            "remote_media_port": str(wire.remote_port),
        }
    )


def refused(channel: Channel, wire: Wire, status: int, phrase: str, q850: int) -> None:
    """What a final response of 300 and above leaves."""
    channel.profile.network_addr = wire.host
    if not channel.get("sip_call_id"):
        channel.set("sip_call_id", wire.call_id)
    channel.set_all(
        {
            **_reply_from(wire),
            "sip_hangup_disposition": "recv_refuse",
            "sip_invite_failure_status": str(status),
            "sip_invite_failure_phrase": phrase,
            "sip_term_status": str(status),
            "proto_specific_hangup_cause": f"sip:{status}",
            "sip_term_cause": str(q850),
        }
    )


def bye_received(channel: Channel) -> None:
    channel.set_all(
        {
            "sip_reason": 'Q.850;cause=16;text="NORMAL_CLEARING"',
            "sip_term_status": "200",
            "proto_specific_hangup_cause": "sip:200",
            "sip_term_cause": "16",
        }
    )


def invite_received(channel: Channel, wire: Wire, caller: str, display: str, called: str) -> None:
    """All that an incoming call brings with its INVITE."""
    channel.codec = "PCMU"
    channel.set_all(
        {
            "sip_from_user": caller,
            "sip_from_port": wire.port,
            "sip_from_uri": f"{caller}@{wire.host}:{wire.port}",
            "sip_from_host": wire.host,
            "video_media_flow": "disabled",
            "text_media_flow": "disabled",
            "channel_name": channel.name,
            "sip_call_id": wire.call_id,
            "sip_local_network_addr": "127.0.0.1",
            "sip_network_ip": wire.host,
            "sip_network_port": wire.port,
            "sip_received_ip": wire.host,
            "sip_received_port": wire.port,
            "sip_via_protocol": "udp",
            "sip_from_user_stripped": caller.lstrip("+"),
            "sip_from_tag": wire.from_tag,
            "sofia_profile_name": "internal",
            "sofia_profile_url": "sip:mod_sofia@127.0.0.1:5060",
            "recovery_profile_name": "internal",
            "sip_full_via": f"SIP/2.0/UDP {wire.host}:{wire.port};branch=z9hG4bK-{wire.branch}-1-0",
            "sip_from_display": display,
            "sip_full_from": f'"{display}" <sip:{caller}@{wire.host}:{wire.port}>;tag={wire.from_tag}',
            "sip_full_to": f"<sip:{called}@127.0.0.1:5060>",
            "sip_req_user": called,
            "sip_req_port": "5060",
            "sip_req_uri": f"{called}@127.0.0.1:5060",
            "sip_req_host": "127.0.0.1",
            "sip_to_user": called,
            "sip_to_port": "5060",
            "sip_to_uri": f"{called}@127.0.0.1:5060",
            "sip_to_host": "127.0.0.1",
            "sip_contact_user": caller,
            "sip_contact_port": wire.port,
            "sip_contact_uri": f"{caller}@{wire.host}:{wire.port}",
            "sip_contact_host": wire.host,
            "sip_via_host": wire.host,
            "sip_via_port": wire.port,
            "max_forwards": "70",
            "switch_r_sdp": remote_sdp(wire.remote_port),
            "ep_codec_string": "CORE_PCM_MODULE.PCMU@8000h@20i@64000b",
            "rtp_use_codec_string": "PCMU,PCMA",
            "remote_video_media_flow": "inactive",
            "remote_text_media_flow": "inactive",
            "remote_audio_media_flow": "sendrecv",
            "audio_media_flow": "sendrecv",
            "remote_media_ip": wire.host,
            "remote_media_port": str(wire.remote_port),
            "rtp_use_codec_name": "PCMU",
            "rtp_use_codec_rate": "8000",
            "rtp_use_codec_ptime": "20",
            "rtp_use_codec_channels": "1",
            "rtp_last_audio_codec_string": "PCMU@8000h@20i@1c",
            "read_codec": "PCMU",
            "original_read_codec": "PCMU",
            "read_rate": "8000",
            "original_read_rate": "8000",
            "write_codec": "PCMU",
            "write_rate": "8000",
            "dtmf_type": "rfc2833",
            "endpoint_disposition": "RECEIVED",
        }
    )


def answer_sent(channel: Channel, wire: Wire) -> None:
    """What our 200 (or 183) to an incoming call adds."""
    channel.set_all(
        {
            "rtp_local_sdp_str": _local_sdp(wire.local_port, "0 101"),
            "local_media_ip": "127.0.0.1",
            "local_media_port": str(wire.local_port),
            "advertised_media_ip": "127.0.0.1",
            "rtp_use_timer_name": "soft",
            "rtp_use_pt": "0",
            "rtp_use_ssrc": str(100_000_000 + wire.cseq * 7),
            "rtp_2833_send_payload": "101",
            "rtp_2833_recv_payload": "101",
            "remote_media_ip": wire.host,
            "remote_media_port": str(wire.remote_port),
            "endpoint_disposition": "ANSWER",
        }
    )


def rtp_figures(channel: Channel, talked_us: int) -> dict[str, str]:
    """The RTP statistics of a leg that had media for ``talked_us``."""
    packets = max(0, talked_us // 20_000)
    figures = {
        "in_raw_bytes": packets * 172,
        "in_media_bytes": packets * 172,
        "in_packet_count": packets,
        "in_media_packet_count": packets,
        "in_skip_packet_count": 2,
        "in_jitter_packet_count": 0,
        "in_dtmf_packet_count": 0,
        "in_cng_packet_count": 0,
        "in_flush_packet_count": 0,
        "in_largest_jb_size": 0,
        "in_jitter_min_variance": "0.00",
        "in_jitter_max_variance": "0.00",
        "in_jitter_loss_rate": "0.00",
        "in_jitter_burst_rate": "0.00",
        "in_mean_interval": "20.00",
        "in_flaw_total": 0,
        "in_quality_percentage": "100.00",
        "in_mos": "4.50",
        "out_raw_bytes": packets * 172,
        "out_media_bytes": packets * 172,
        "out_packet_count": packets,
        "out_media_packet_count": packets,
        "out_skip_packet_count": 0,
        "out_dtmf_packet_count": 0,
        "out_cng_packet_count": 0,
        "rtcp_packet_count": 0,
        "rtcp_octet_count": 0,
    }
    return {f"rtp_audio_{name}": str(value) for name, value in figures.items()}


def local_wire(channel: Channel) -> Wire:
    """The wire of an incoming call, as its variables have it."""
    return Wire(
        number=channel.get("sip_from_user"),
        host=channel.get("sip_network_ip") or "127.0.0.1",
        port=channel.get("sip_network_port") or "5070",
        local_port=16384 + channel.session_id * 2 % 16000,
        remote_port=int(channel.get("remote_media_port") or 6000),
        branch="",
        from_tag=channel.get("sip_from_tag"),
        to_tag=token(random.Random(channel.session_id)),
        cseq=123_000_000 + channel.session_id,
        call_id=channel.get("sip_call_id"),
    )
