#ifndef SLUICE_CLIBRDKAFKA_H
#define SLUICE_CLIBRDKAFKA_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

// A header of a message: where its name and its value lie in a buffer. The name ends with NUL,
// which its length does not count.
typedef struct {
    uint32_t name;
    uint32_t name_length;
    uint32_t value;
    uint32_t value_length;
} sluice_kafka_header;

// rd_kafka_produceva with its arguments on the stack: Swift can call neither the variadic form nor
// fill the unions without a detour. Key, value and headers are copied. A key or value whose flag is
// not set is null, which differs from an empty one.
static inline rd_kafka_resp_err_t sluice_kafka_produce(
    rd_kafka_t *client, rd_kafka_topic_t *topic, int32_t partition,
    const void *key, size_t key_length, int has_key,
    const void *value, size_t value_length, int has_value,
    const uint8_t *bytes, const sluice_kafka_header *entries, size_t entry_count,
    int64_t timestamp, uint64_t token) {
    rd_kafka_headers_t *headers = NULL;
    if (entry_count > 0) {
        headers = rd_kafka_headers_new(entry_count);
        for (size_t i = 0; i < entry_count; i++) {
            const sluice_kafka_header *entry = &entries[i];
            rd_kafka_resp_err_t error = rd_kafka_header_add(
                headers, (const char *)bytes + entry->name, (ssize_t)entry->name_length,
                bytes + entry->value, (ssize_t)entry->value_length);
            if (error) {
                rd_kafka_headers_destroy(headers);
                return error;
            }
        }
    }
    rd_kafka_vu_t arguments[8];
    size_t count = 0;
    arguments[count].vtype = RD_KAFKA_VTYPE_RKT;
    arguments[count++].u.rkt = topic;
    arguments[count].vtype = RD_KAFKA_VTYPE_PARTITION;
    arguments[count++].u.i32 = partition;
    arguments[count].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    arguments[count++].u.i = RD_KAFKA_MSG_F_COPY;
    arguments[count].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    arguments[count++].u.i64 = timestamp;
    arguments[count].vtype = RD_KAFKA_VTYPE_OPAQUE;
    arguments[count++].u.ptr = (void *)(uintptr_t)token;
    if (has_key) {
        arguments[count].vtype = RD_KAFKA_VTYPE_KEY;
        arguments[count].u.mem.ptr = key ? (void *)key : (void *)"";
        arguments[count++].u.mem.size = key_length;
    }
    if (has_value) {
        arguments[count].vtype = RD_KAFKA_VTYPE_VALUE;
        arguments[count].u.mem.ptr = value ? (void *)value : (void *)"";
        arguments[count++].u.mem.size = value_length;
    }
    if (headers) {
        arguments[count].vtype = RD_KAFKA_VTYPE_HEADERS;
        arguments[count++].u.headers = headers;
    }
    rd_kafka_error_t *failure = rd_kafka_produceva(client, arguments, count);
    if (!failure) return RD_KAFKA_RESP_ERR_NO_ERROR;
    // On failure the headers are still ours.
    if (headers) rd_kafka_headers_destroy(headers);
    rd_kafka_resp_err_t code = rd_kafka_error_code(failure);
    rd_kafka_error_destroy(failure);
    return code;
}

#endif
