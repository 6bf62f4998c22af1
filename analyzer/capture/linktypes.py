"""LINKTYPE numbers and their short names.

Source  www.tcpdump.org/linktypes.html; libpcap pcap-common.c for the numbers that differ between systems.
"""

from __future__ import annotations

NULL = 0
ETHERNET = 1
RAW = 101

NAMES: dict[int, str] = {
    0: "null",
    1: "ethernet",
    3: "ax25",
    6: "token_ring",
    7: "arcnet_bsd",
    8: "slip",
    9: "ppp",
    10: "fddi",
    50: "ppp_hdlc",
    51: "ppp_ether",
    100: "atm_rfc1483",
    101: "raw",
    104: "c_hdlc",
    105: "ieee802_11",
    107: "frelay",
    108: "loop",
    113: "linux_sll",
    114: "ltalk",
    117: "pflog",
    119: "ieee802_11_prism",
    122: "ip_over_fc",
    123: "sunatm",
    127: "radiotap",
    129: "arcnet_linux",
    138: "apple_ip_over_ieee1394",
    140: "mtp2",
    141: "mtp3",
    143: "docsis",
    144: "linux_irda",
    147: "user0",
    148: "user1",
    149: "user2",
    150: "user3",
    151: "user4",
    152: "user5",
    153: "user6",
    154: "user7",
    155: "user8",
    156: "user9",
    157: "user10",
    158: "user11",
    159: "user12",
    160: "user13",
    161: "user14",
    162: "user15",
    163: "ieee802_11_avs",
    166: "ppp_pppd",
    169: "gprs_llc",
    177: "linux_lapd",
    178: "juniper_ether",
    179: "juniper_ppp",
    180: "juniper_frelay",
    181: "juniper_chdlc",
    187: "bluetooth_hci_h4",
    189: "usb_linux",
    192: "ppi",
    195: "ieee802_15_4",
    197: "erf",
    201: "bluetooth_hci_h4_phdr",
    203: "lapd",
    204: "ppp_with_dir",
    205: "c_hdlc_with_dir",
    206: "frelay_with_dir",
    209: "ipmb_linux",
    215: "ieee802_15_4_nonask_phy",
    220: "usb_linux_mmapped",
    226: "ipnet",
    227: "can_socketcan",
    228: "ipv4",
    229: "ipv6",
    230: "ieee802_15_4_nofcs",
    231: "dbus",
    239: "nflog",
    240: "netanalyzer",
    241: "netanalyzer_transparent",
    242: "ipoib",
    243: "mpeg_2_ts",
    247: "infiniband",
    248: "sctp",
    249: "usbpcap",
    251: "bluetooth_le_ll",
    253: "netlink",
    258: "pktap",
    259: "epon",
    265: "iso_14443",
    271: "vsock",
    272: "nordic_ble",
    273: "docsis31_xra31",
    274: "ethernet_mpacket",
    276: "linux_sll2",
    279: "ebhscr",
    281: "dsa_tag_brcm",
    282: "dsa_tag_brcm_prepend",
    283: "dsa_tag_dsa",
    284: "dsa_tag_edsa",
    289: "etw",
}

# A pcap file should hold LINKTYPE numbers, but old writers put their system's own DLT number there. Two of those
# are unambiguous and libpcap itself (pcap-common.c, linktype_to_dlt) reads them so: DLT_RAW is 12 on most systems
# and 14 on OpenBSD; neither is a LINKTYPE of anything else.
_DLT_TO_LINKTYPE = {12: RAW, 14: RAW}


def normalised(number: int) -> int:
    """Return the LINKTYPE for a number as found in a file, where old systems wrote another."""
    return _DLT_TO_LINKTYPE.get(number, number)


def name(number: int) -> str:
    """Return the short name of a LINKTYPE, "linktype_N" if it has none here."""
    return NAMES.get(number, f"linktype_{number}")
