import Foundation
import Records
import RecordsOracle
import SwiftProtobuf

/// The generated message that our codec is compared with.
typealias Oracle = Sluice_V1_RequestRecord

/// A seeded generator, so that a failure can be repeated.
struct SeededRandom: RandomNumberGenerator {
    /// The state of SplitMix64.
    private var state: UInt64

    /// Starts from a seed.
    init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// True so often out of a hundred.
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

    /// A number whose size, not value, is evenly spread.
    mutating func number() -> UInt64 { next() >> UInt64.random(in: 0...63, using: &self) }

    /// Some bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    /// Some text, now and then empty or not ASCII.
    mutating func text() -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789-_/{} \"\\\néß漢🙂")
        let count = chance(5) ? 300 : Int.random(in: 0...24, using: &self)
        return String((0..<count).map { _ in alphabet.randomElement(using: &self) ?? "a" })
    }
}

extension RequestRecord {
    /// Decodes an array.
    init(_ bytes: [UInt8]) throws(RecordError) {
        try self.init(decoding: bytes.span.raw)
    }

    /// The record that ours should be, given what the oracle read.
    init(expectedFrom oracle: Oracle) {
        self.init()
        schemaVersion = oracle.schemaVersion
        logID = LogID(bytes: Array(oracle.logID).span)
        offset = Offset(oracle.offset)
        kind =
            UInt8(exactly: oracle.kind.rawValue).flatMap(RecordKind.init(rawValue:))
            ?? .unspecified
        completedAt = oracle.completedAt
        outcome =
            UInt8(exactly: oracle.outcome.rawValue).flatMap(Outcome.init(rawValue:))
            ?? .unspecified
        org = oracle.org
        api = oracle.api
        route = oracle.route
        method = oracle.method
        status = oracle.hasStatus ? oracle.status : nil
        durationUS = oracle.hasDurationUs ? oracle.durationUs : nil
        upstreamDurationUS = oracle.hasUpstreamDurationUs ? oracle.upstreamDurationUs : nil
        responseBytes = oracle.responseBytes
        keyID = oracle.keyID
        requestID = Array(oracle.requestID)
        startedAt = oracle.startedAt
        requestBytes = oracle.requestBytes
        apiVersion = oracle.apiVersion
        application = oracle.application
        developer = oracle.developer
        plan = oracle.plan
        node = oracle.node
        region = oracle.region
        clientIP = oracle.clientIp
        userAgent = oracle.userAgent
        userAgentFamily = oracle.userAgentFamily
        platform = oracle.platform
        country = oracle.country
        scheme = oracle.scheme
        host = oracle.host
        path = oracle.path
        query = oracle.query
        upstreamStatus = oracle.hasUpstreamStatus ? oracle.upstreamStatus : nil
        upstreamAddress = oracle.upstreamAddress
        upstreamConnectUS = oracle.hasUpstreamConnectUs ? oracle.upstreamConnectUs : nil
        upstreamFirstByteUS = oracle.hasUpstreamFirstByteUs ? oracle.upstreamFirstByteUs : nil
        gatewayDurationUS = oracle.hasGatewayDurationUs ? oracle.gatewayDurationUs : nil
        cacheResult = oracle.cacheResult
        retryCount = oracle.retryCount
        traceID = Array(oracle.traceID)
        tags = oracle.tags.map { RecordTag(key: $0.key, value: $0.value) }
        capturedRequest = oracle.hasCapturedRequest ? RecordCapture(oracle.capturedRequest) : nil
        capturedResponse =
            oracle.hasCapturedResponse
            ? RecordCapture(oracle.capturedResponse) : nil
        predecessorLogID = LogID(bytes: Array(oracle.predecessorLogID).span)
        nextOffset = oracle.hasNextOffset ? oracle.nextOffset : nil
        lane = oracle.lane
        unknownFields = Array(oracle.unknownFields.data)
        // What we do not know by value we keep as bytes, after the oracle's unknown fields.
        appendUnread(of: oracle)
    }

    /// Appends values that the oracle can hold and our types cannot.
    private mutating func appendUnread(of oracle: Oracle) {
        var unread = Oracle()
        if oracle.kind.rawValue != Int(kind.rawValue) { unread.kind = oracle.kind }
        unknownFields += Self.bytes(of: unread)
        unread = Oracle()
        if oracle.outcome.rawValue != Int(outcome.rawValue) { unread.outcome = oracle.outcome }
        unknownFields += Self.bytes(of: unread)
        unread = Oracle()
        if logID == nil { unread.logID = oracle.logID }
        unknownFields += Self.bytes(of: unread)
        unread = Oracle()
        if predecessorLogID == nil { unread.predecessorLogID = oracle.predecessorLogID }
        unknownFields += Self.bytes(of: unread)
    }

    /// The bytes of a message that certainly can be encoded.
    private static func bytes(of message: Oracle) -> [UInt8] {
        (try? message.serializedBytes()) ?? []
    }
}

extension RecordCapture {
    /// The capture that ours should be.
    init(_ oracle: Sluice_V1_Capture) {
        self.init(data: Array(oracle.data), originalLength: oracle.originalLength)
    }
}

extension Oracle {
    /// A random message; every field is absent so often out of a hundred.
    static func random(_ random: inout SeededRandom, absent: Int) -> Oracle {
        var record = Oracle()
        func has() -> Bool { !random.chance(absent) }
        if has() { record.schemaVersion = 1 }
        if has() { record.logID = Data(random.bytes(16)) }
        if has() { record.offset = random.number() }
        if has() { record.kind = Sluice_V1_Kind.allCases.randomElement(using: &random) ?? .request }
        if has() { record.completedAt = Int64(bitPattern: random.number()) }
        if has() {
            record.outcome = Sluice_V1_Outcome.allCases.randomElement(using: &random) ?? .ok
        }
        if has() { record.org = random.text() }
        if has() { record.api = random.text() }
        if has() { record.route = random.text() }
        if has() { record.method = random.text() }
        if has() { record.status = UInt32(truncatingIfNeeded: random.number()) }
        if has() { record.durationUs = random.number() }
        if has() { record.upstreamDurationUs = random.number() }
        if has() { record.responseBytes = random.number() }
        if has() { record.keyID = random.text() }
        if has() { record.requestID = Data(random.bytes(Int.random(in: 0...20, using: &random))) }
        if has() { record.startedAt = Int64(bitPattern: random.number()) }
        if has() { record.requestBytes = random.number() }
        if has() { record.apiVersion = random.text() }
        if has() { record.application = random.text() }
        if has() { record.developer = random.text() }
        if has() { record.plan = random.text() }
        if has() { record.node = random.text() }
        if has() { record.region = random.text() }
        if has() { record.clientIp = random.text() }
        if has() { record.userAgent = random.text() }
        if has() { record.userAgentFamily = random.text() }
        if has() { record.platform = random.text() }
        if has() { record.country = random.text() }
        if has() { record.scheme = random.text() }
        if has() { record.host = random.text() }
        if has() { record.path = random.text() }
        if has() { record.query = random.text() }
        if has() { record.upstreamStatus = UInt32(truncatingIfNeeded: random.number()) }
        if has() { record.upstreamAddress = random.text() }
        if has() { record.upstreamConnectUs = random.number() }
        if has() { record.upstreamFirstByteUs = random.number() }
        if has() { record.gatewayDurationUs = random.number() }
        if has() { record.cacheResult = random.text() }
        if has() { record.retryCount = UInt32(truncatingIfNeeded: random.number()) }
        if has() { record.traceID = Data(random.bytes(16)) }
        if has() {
            record.tags = (0..<Int.random(in: 0...4, using: &random)).map { _ in
                Sluice_V1_Tag.with {
                    $0.key = random.text()
                    $0.value = random.text()
                }
            }
        }
        if has() { record.capturedRequest = .random(&random) }
        if has() { record.capturedResponse = .random(&random) }
        if has() { record.predecessorLogID = Data(random.bytes(16)) }
        if has() { record.nextOffset = random.number() }
        if has() { record.lane = UInt32(truncatingIfNeeded: random.number()) }
        return record
    }
}

extension Sluice_V1_Capture {
    /// A random capture, in which both fields are written.
    static func random(_ random: inout SeededRandom) -> Sluice_V1_Capture {
        .with {
            $0.data = Data(random.bytes(Int.random(in: 1...40, using: &random)))
            $0.originalLength = random.number() | 1
        }
    }
}
