"""The guest of the conformance table in Python: all types cross as JSON, and each function gives back what it gets."""


def echo_bool(v):
    return v


def echo_s8(v):
    return v


def echo_u8(v):
    return v


def echo_s16(v):
    return v


def echo_u16(v):
    return v


def echo_s32(v):
    return v


def echo_u32(v):
    return v


def echo_s64(v):
    return v


def echo_u64(v):
    return v


def echo_f32(v):
    return v


def echo_f64(v):
    return v


def echo_char(v):
    return v


def echo_string(v):
    return v


def echo_bytes(v):
    return v


def echo_list_s32(v):
    return v


def echo_list_string(v):
    return v


def echo_list_item(v):
    return v


def echo_option_f64(v):
    return v


def echo_option_string(v):
    return v


def echo_result(v):
    return v


def echo_tuple(v):
    return v


def echo_item(v):
    return v


def echo_color(v):
    return v


def echo_nested(v):
    return v


def many(a, b, c, d):
    return "+".join([a["name"], b["name"], c["name"], d])
