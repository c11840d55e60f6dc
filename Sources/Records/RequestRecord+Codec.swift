extension RequestRecord {
    /// Decodes one record; accepts and refuses exactly what `RecordView.decode` does.
    package init(decoding bytes: RawSpan) throws(RecordError) {
        let view = try RecordView.decode(bytes)
        self.init()
        let octets = bytes.octets
        schemaVersion = view.schemaVersion
        logID = LogID(bytes: octets.extracting(view.logID.range))
        offset = Offset(view.offset)
        kind = view.kind
        completedAt = view.completedAt
        outcome = view.outcome
        org = octets.extracting(view.org.range).text()
        api = octets.extracting(view.api.range).text()
        route = octets.extracting(view.route.range).text()
        method = octets.extracting(view.method.range).text()
        status = view.status
        durationUS = view.durationUS
        upstreamDurationUS = view.upstreamDurationUS
        responseBytes = view.responseBytes
        keyID = octets.extracting(view.keyID.range).text()
        requestID = octets.extracting(view.requestID.range).copied()
        startedAt = view.startedAt
        requestBytes = view.requestBytes
        apiVersion = octets.extracting(view.apiVersion.range).text()
        application = octets.extracting(view.application.range).text()
        developer = octets.extracting(view.developer.range).text()
        plan = octets.extracting(view.plan.range).text()
        node = octets.extracting(view.node.range).text()
        region = octets.extracting(view.region.range).text()
        clientIP = octets.extracting(view.clientIP.range).text()
        userAgent = octets.extracting(view.userAgent.range).text()
        userAgentFamily = octets.extracting(view.userAgentFamily.range).text()
        platform = octets.extracting(view.platform.range).text()
        country = octets.extracting(view.country.range).text()
        scheme = octets.extracting(view.scheme.range).text()
        host = octets.extracting(view.host.range).text()
        path = octets.extracting(view.path.range).text()
        query = octets.extracting(view.query.range).text()
        upstreamStatus = view.upstreamStatus
        upstreamAddress = octets.extracting(view.upstreamAddress.range).text()
        upstreamConnectUS = view.upstreamConnectUS
        upstreamFirstByteUS = view.upstreamFirstByteUS
        gatewayDurationUS = view.gatewayDurationUS
        cacheResult = octets.extracting(view.cacheResult.range).text()
        retryCount = view.retryCount
        traceID = octets.extracting(view.traceID.range).copied()
        predecessorLogID = LogID(bytes: octets.extracting(view.predecessorLogID.range))
        nextOffset = view.nextOffset
        lane = view.lane
        try readRest(octets)
    }

    /// Reads what a view does not hold: tags, captures and unknown fields.
    private mutating func readRest(_ octets: Span<UInt8>) throws(RecordError) {
        var unread = UnreadValues()
        var reader = WireReader(octets)
        while !reader.isAtEnd {
            let start = reader.position
            let tag = try reader.tag()
            guard let field = RecordField(rawValue: tag >> 3), tag & 7 == field.wireType else {
                try reader.skip(tag)
                for index in start..<reader.position { unknownFields.append(octets[index]) }
                continue
            }
            if field.wireType == 0 {
                unread.note(field, number: try reader.varint())
            } else {
                let content = octets.extracting(try reader.delimited().range)
                unread.note(field, content)
                try readNested(field, content)
            }
        }
        unread.append(to: &unknownFields)
    }

    /// Reads a tag or capture; ignores every other field.
    private mutating func readNested(
        _ field: RecordField,
        _ content: Span<UInt8>
    ) throws(RecordError) {
        switch field {
        case .tags:
            let whole = ByteRange(start: 0, count: UInt32(content.count))
            let (key, value) = RecordView.tagParts(content, whole)
            tags.append(
                RecordTag(
                    key: content.extracting(key.range).text(),
                    value: content.extracting(value.range).text()
                )
            )
        case .capturedRequest:
            var capture = capturedRequest ?? RecordCapture()
            try capture.merge(content)
            capturedRequest = capture
        case .capturedResponse:
            var capture = capturedResponse ?? RecordCapture()
            try capture.merge(content)
            capturedResponse = capture
        default: break
        }
    }

    /// Encodes the record in the order of field numbers, unknown fields last.
    package func encode(into encoder: inout RecordEncoder) {
        encoder.putUnlessZero(.schemaVersion, UInt64(schemaVersion))
        if let logID { encoder.put(.logID, logID) }
        encoder.putUnlessZero(.offset, offset.rawValue)
        encoder.putUnlessZero(.kind, UInt64(kind.rawValue))
        encoder.putUnlessZero(.completedAt, UInt64(bitPattern: completedAt))
        encoder.putUnlessZero(.outcome, UInt64(outcome.rawValue))
        encoder.putUnlessEmpty(.org, org)
        encoder.putUnlessEmpty(.api, api)
        encoder.putUnlessEmpty(.route, route)
        encoder.putUnlessEmpty(.method, method)
        if let status { encoder.put(.status, UInt64(status)) }
        if let durationUS { encoder.put(.durationUS, durationUS) }
        if let upstreamDurationUS { encoder.put(.upstreamDurationUS, upstreamDurationUS) }
        encoder.putUnlessZero(.responseBytes, responseBytes)
        encoder.putUnlessEmpty(.keyID, keyID)
        if !requestID.isEmpty { encoder.put(.requestID, requestID) }
        encoder.putUnlessZero(.startedAt, UInt64(bitPattern: startedAt))
        encoder.putUnlessZero(.requestBytes, requestBytes)
        encoder.putUnlessEmpty(.apiVersion, apiVersion)
        encoder.putUnlessEmpty(.application, application)
        encoder.putUnlessEmpty(.developer, developer)
        encoder.putUnlessEmpty(.plan, plan)
        encoder.putUnlessEmpty(.node, node)
        encoder.putUnlessEmpty(.region, region)
        encoder.putUnlessEmpty(.clientIP, clientIP)
        encoder.putUnlessEmpty(.userAgent, userAgent)
        encoder.putUnlessEmpty(.userAgentFamily, userAgentFamily)
        encoder.putUnlessEmpty(.platform, platform)
        encoder.putUnlessEmpty(.country, country)
        encoder.putUnlessEmpty(.scheme, scheme)
        encoder.putUnlessEmpty(.host, host)
        encoder.putUnlessEmpty(.path, path)
        encoder.putUnlessEmpty(.query, query)
        if let upstreamStatus { encoder.put(.upstreamStatus, UInt64(upstreamStatus)) }
        encoder.putUnlessEmpty(.upstreamAddress, upstreamAddress)
        if let upstreamConnectUS { encoder.put(.upstreamConnectUS, upstreamConnectUS) }
        if let upstreamFirstByteUS { encoder.put(.upstreamFirstByteUS, upstreamFirstByteUS) }
        if let gatewayDurationUS { encoder.put(.gatewayDurationUS, gatewayDurationUS) }
        encoder.putUnlessEmpty(.cacheResult, cacheResult)
        encoder.putUnlessZero(.retryCount, UInt64(retryCount))
        if !traceID.isEmpty { encoder.put(.traceID, traceID) }
        for tag in tags { tag.encode(into: &encoder) }
        if let capturedRequest { capturedRequest.encode(as: .capturedRequest, into: &encoder) }
        if let capturedResponse { capturedResponse.encode(as: .capturedResponse, into: &encoder) }
        if let predecessorLogID { encoder.put(.predecessorLogID, predecessorLogID) }
        if let nextOffset { encoder.put(.nextOffset, nextOffset) }
        encoder.putUnlessZero(.lane, UInt64(lane))
        encoder.put(encoded: unknownFields.span)
    }

    /// The record's bytes.
    package func encoded() -> [UInt8] {
        var encoder = RecordEncoder(capacity: 512)
        encode(into: &encoder)
        return encoder.bytes
    }
}

extension RecordField {
    /// The wire type of the field: 0 for numbers, 2 for text, bytes and messages.
    var wireType: UInt32 {
        switch self {
        case .logID, .org, .api, .route, .method, .keyID, .requestID, .apiVersion, .application,
            .developer, .plan, .node, .region, .clientIP, .userAgent, .userAgentFamily, .platform,
            .country, .scheme, .host, .path, .query, .upstreamAddress, .cacheResult, .traceID,
            .tags, .capturedRequest, .capturedResponse, .predecessorLogID:
            2
        default: 0
        }
    }
}

extension RecordTag {
    /// Appends the tag as one field.
    func encode(into encoder: inout RecordEncoder) {
        encoder.putTag(key: key, value: value)
    }
}

extension RecordCapture {
    /// Appends the capture as one field.
    func encode(as field: RecordField, into encoder: inout RecordEncoder) {
        encoder.putCapture(field, data.span, originalLength: originalLength)
    }

    /// Merges an encoded message, as protobuf does when a message field occurs again.
    mutating func merge(_ octets: Span<UInt8>) throws(RecordError) {
        var reader = WireReader(octets)
        while !reader.isAtEnd {
            let tag = try reader.tag()
            switch tag {
            case 1 << 3 | 2: data = octets.extracting(try reader.delimited().range).copied()
            case 2 << 3: originalLength = try reader.varint()
            default: try reader.skip(tag)
            }
        }
    }
}

extension RecordEncoder {
    /// Puts text unless it is empty, which stands for absent.
    mutating func putUnlessEmpty(_ field: RecordField, _ text: String) {
        if !text.isEmpty { put(field, text) }
    }

    /// Puts a number unless it is zero, which stands for absent.
    mutating func putUnlessZero(_ field: RecordField, _ value: UInt64) {
        if value != 0 { put(field, value) }
    }
}

/// Values of known fields that our types cannot hold; kept as unknown fields: nothing is lost.
private struct UnreadValues {
    /// A kind that this version does not know.
    private var kind: UInt64?
    /// An outcome that this version does not know.
    private var outcome: UInt64?
    /// A log id that is not 16 bytes long.
    private var logID: [UInt8] = []
    /// A predecessor that is not 16 bytes long.
    private var predecessor: [UInt8] = []

    /// Notes the value of a number; the last one wins.
    mutating func note(_ field: RecordField, number: UInt64) {
        // Enums are 32 bits with a sign, which is what a writer would extend.
        let value = UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: number)))
        if field == .kind {
            kind = UInt64(RecordKind(wire: value).rawValue) == value ? nil : value
        } else if field == .outcome {
            outcome = UInt64(Outcome(wire: value).rawValue) == value ? nil : value
        }
    }

    /// Notes the content of a field; the last one wins.
    mutating func note(_ field: RecordField, _ content: Span<UInt8>) {
        if field == .logID {
            logID = content.count == 16 ? [] : content.copied()
        } else if field == .predecessorLogID {
            predecessor = content.count == 16 ? [] : content.copied()
        }
    }

    /// Appends what is left as encoded fields.
    func append(to fields: inout [UInt8]) {
        var encoder = RecordEncoder()
        if let kind { encoder.put(.kind, kind) }
        if let outcome { encoder.put(.outcome, outcome) }
        if !logID.isEmpty { encoder.put(.logID, logID) }
        if !predecessor.isEmpty { encoder.put(.predecessorLogID, predecessor) }
        fields += encoder.bytes
    }
}
