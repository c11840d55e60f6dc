extension RecordView {
    /// Decodes one record in one pass.
    ///
    /// Accepts what protobuf accepts, except that text is not checked: fields in any order, the
    /// last of a repeated scalar wins, unknown fields are stepped over, a known number with another
    /// wire type is an unknown field. Throws `unknownSchemaVersion` for every record that says it
    /// is of a newer schema, also when this version cannot read the rest.
    package static func decode(_ bytes: RawSpan) throws(RecordError) -> RecordView {
        guard bytes.byteCount < 0x7FFF_FFFF else { throw .tooLong(bytes: bytes.byteCount) }
        var view = RecordView()
        do {
            try view.read(bytes.octets)
        } catch {
            if view.schemaVersion > schemaVersionMax {
                throw .unknownSchemaVersion(view.schemaVersion)
            }
            throw error
        }
        guard view.schemaVersion <= schemaVersionMax else {
            throw .unknownSchemaVersion(view.schemaVersion)
        }
        return view
    }

    /// Reads all fields; on an error, what came before it has been read.
    @inline(__always)
    private mutating func read(_ bytes: Span<UInt8>) throws(RecordError) {
        var reader = WireReader(bytes)
        while !reader.isAtEnd {
            let start = reader.position
            let tag = try reader.tag()
            switch tag {
            case 8: self.schemaVersion = UInt32(truncatingIfNeeded: try reader.varint())
            case 18: self.logID = try reader.delimited()
            case 24: self.offset = try reader.varint()
            case 32: self.kind = RecordKind(wire: try reader.varint())
            case 40: self.completedAt = Int64(bitPattern: try reader.varint())
            case 48: self.outcome = Outcome(wire: try reader.varint())
            case 58: self.org = try reader.delimited()
            case 66: self.api = try reader.delimited()
            case 74: self.route = try reader.delimited()
            case 82: self.method = try reader.delimited()
            case 88: self.status = UInt32(truncatingIfNeeded: try reader.varint())
            case 96: self.durationUS = try reader.varint()
            case 104: self.upstreamDurationUS = try reader.varint()
            case 112: self.responseBytes = try reader.varint()
            case 122: self.keyID = try reader.delimited()
            case 130: self.requestID = try reader.delimited()
            case 136: self.startedAt = Int64(bitPattern: try reader.varint())
            case 144: self.requestBytes = try reader.varint()
            case 154: self.apiVersion = try reader.delimited()
            case 162: self.application = try reader.delimited()
            case 170: self.developer = try reader.delimited()
            case 178: self.plan = try reader.delimited()
            case 186: self.node = try reader.delimited()
            case 194: self.region = try reader.delimited()
            case 202: self.clientIP = try reader.delimited()
            case 210: self.userAgent = try reader.delimited()
            case 218: self.userAgentFamily = try reader.delimited()
            case 226: self.platform = try reader.delimited()
            case 234: self.country = try reader.delimited()
            case 242: self.scheme = try reader.delimited()
            case 250: self.host = try reader.delimited()
            case 258: self.path = try reader.delimited()
            case 266: self.query = try reader.delimited()
            case 272: self.upstreamStatus = UInt32(truncatingIfNeeded: try reader.varint())
            case 282: self.upstreamAddress = try reader.delimited()
            case 288: self.upstreamConnectUS = try reader.varint()
            case 296: self.upstreamFirstByteUS = try reader.varint()
            case 304: self.gatewayDurationUS = try reader.varint()
            case 314: self.cacheResult = try reader.delimited()
            case 320: self.retryCount = UInt32(truncatingIfNeeded: try reader.varint())
            case 330: self.traceID = try reader.delimited()
            case 338:
                if self.tagCount == 0 { self.tagsStart = UInt32(truncatingIfNeeded: start) }
                self.tagCount &+= 1  // fewer than bytes
                try validateNested(bytes, try reader.delimited())
            case 346:
                self.capturedRequest = try reader.delimited()
                try validateNested(bytes, self.capturedRequest)
            case 354:
                self.capturedResponse = try reader.delimited()
                try validateNested(bytes, self.capturedResponse)
            case 362: self.predecessorLogID = try reader.delimited()
            case 368: self.nextOffset = try reader.varint()
            case 376: self.lane = UInt32(truncatingIfNeeded: try reader.varint())
            default:
                guard tag & 7 != 4 else { throw .invalidTag(position: start) }
                try reader.skip(tag)
            }
        }
    }

    /// Checks that a nested message's fields are well formed.
    private func validateNested(
        _ bytes: Span<UInt8>,
        _ range: ByteRange
    ) throws(RecordError) {
        var reader = WireReader(bytes.extracting(range.range))
        while !reader.isAtEnd {
            let start = reader.position
            let tag = try reader.tag()
            guard tag & 7 != 4 else { throw .invalidTag(position: start) }
            try reader.skip(tag, depth: 1)
        }
    }
}

extension RecordKind {
    /// The kind of a number on the wire, which protobuf truncates to 32 bits.
    @inline(__always)
    init(wire value: UInt64) {
        self =
            RecordKind(rawValue: UInt8(clamping: UInt32(truncatingIfNeeded: value)))
            ?? .unspecified
    }
}

extension Outcome {
    /// The outcome of a number on the wire, which protobuf truncates to 32 bits.
    @inline(__always)
    init(wire value: UInt64) {
        self =
            Outcome(rawValue: UInt8(clamping: UInt32(truncatingIfNeeded: value)))
            ?? .unspecified
    }
}
