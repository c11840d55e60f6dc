extension RequestRecord {
    /// The record as one line of JSON with the proto's field names; absent fields are left out.
    ///
    /// Log ids are UUIDs, other ids lower-case hexadecimal, captured data is Base64, times and
    /// durations are integers in microseconds.
    package func json() -> String {
        var json = RecordJSON()
        if schemaVersion != 0 { json.put(.schemaVersion, number: schemaVersion) }
        if let logID { json.put(.logID, text: logID.description) }
        if logID != nil || offset != .zero { json.put(.offset, number: offset.rawValue) }
        if kind != .unspecified { json.put(.kind, text: kind.name) }
        if completedAt != 0 { json.put(.completedAt, number: completedAt) }
        if outcome != .unspecified { json.put(.outcome, text: outcome.name) }
        json.putUnlessEmpty(.org, text: org)
        json.putUnlessEmpty(.api, text: api)
        json.putUnlessEmpty(.route, text: route)
        json.putUnlessEmpty(.method, text: method)
        if let status { json.put(.status, number: status) }
        if let durationUS { json.put(.durationUS, number: durationUS) }
        if let upstreamDurationUS { json.put(.upstreamDurationUS, number: upstreamDurationUS) }
        if responseBytes != 0 { json.put(.responseBytes, number: responseBytes) }
        json.putUnlessEmpty(.keyID, text: keyID)
        json.putUnlessEmpty(.requestID, text: Hexadecimal.text(requestID))
        if startedAt != 0 { json.put(.startedAt, number: startedAt) }
        if requestBytes != 0 { json.put(.requestBytes, number: requestBytes) }
        json.putUnlessEmpty(.apiVersion, text: apiVersion)
        json.putUnlessEmpty(.application, text: application)
        json.putUnlessEmpty(.developer, text: developer)
        json.putUnlessEmpty(.plan, text: plan)
        json.putUnlessEmpty(.node, text: node)
        json.putUnlessEmpty(.region, text: region)
        json.putUnlessEmpty(.clientIP, text: clientIP)
        json.putUnlessEmpty(.userAgent, text: userAgent)
        json.putUnlessEmpty(.userAgentFamily, text: userAgentFamily)
        json.putUnlessEmpty(.platform, text: platform)
        json.putUnlessEmpty(.country, text: country)
        json.putUnlessEmpty(.scheme, text: scheme)
        json.putUnlessEmpty(.host, text: host)
        json.putUnlessEmpty(.path, text: path)
        json.putUnlessEmpty(.query, text: query)
        if let upstreamStatus { json.put(.upstreamStatus, number: upstreamStatus) }
        json.putUnlessEmpty(.upstreamAddress, text: upstreamAddress)
        if let upstreamConnectUS { json.put(.upstreamConnectUS, number: upstreamConnectUS) }
        if let upstreamFirstByteUS { json.put(.upstreamFirstByteUS, number: upstreamFirstByteUS) }
        if let gatewayDurationUS { json.put(.gatewayDurationUS, number: gatewayDurationUS) }
        json.putUnlessEmpty(.cacheResult, text: cacheResult)
        if retryCount != 0 { json.put(.retryCount, number: retryCount) }
        json.putUnlessEmpty(.traceID, text: Hexadecimal.text(traceID))
        json.put(tags)
        if let capturedRequest { json.put(.capturedRequest, capturedRequest) }
        if let capturedResponse { json.put(.capturedResponse, capturedResponse) }
        if let predecessorLogID { json.put(.predecessorLogID, text: predecessorLogID.description) }
        if let nextOffset { json.put(.nextOffset, number: nextOffset) }
        if lane != 0 { json.put(.lane, number: lane) }
        if !unknownFields.isEmpty {
            json.put("unknown_fields", text: Hexadecimal.text(unknownFields))
        }
        return json.finish()
    }
}

/// Writes one JSON object by appending to a string.
private struct RecordJSON {
    /// What has been written so far.
    private var text = "{"

    /// Puts a name and its colon, after a comma if needed.
    private mutating func name(_ name: String) {
        if text.utf8.count > 1 { text.append(",") }
        text.append("\"")
        text.append(name)
        text.append("\":")
    }

    /// Puts a number.
    mutating func put(_ field: RecordField, number: some BinaryInteger) {
        name(field.name)
        text.append(String(number))
    }

    /// Puts text.
    mutating func put(_ field: RecordField, text value: String) {
        put(field.name, text: value)
    }

    /// Puts text under a name of its own.
    mutating func put(_ name: String, text value: String) {
        self.name(name)
        string(value)
    }

    /// Puts text unless it is empty.
    mutating func putUnlessEmpty(_ field: RecordField, text value: String) {
        if !value.isEmpty { put(field, text: value) }
    }

    /// Puts the tags as a list, since names may occur more than once.
    mutating func put(_ tags: [RecordTag]) {
        guard !tags.isEmpty else { return }
        name(RecordField.tags.name)
        var separator = "["
        for tag in tags {
            text.append(separator)
            text.append("{\"key\":")
            string(tag.key)
            text.append(",\"value\":")
            string(tag.value)
            text.append("}")
            separator = ","
        }
        text.append("]")
    }

    /// Puts a captured request or response.
    mutating func put(_ field: RecordField, _ capture: RecordCapture) {
        name(field.name)
        text.append("{\"data\":\"")
        base64(capture.data)
        text.append("\",\"original_length\":")
        text.append(String(capture.originalLength))
        text.append("}")
    }

    /// Closes the object and returns the line.
    consuming func finish() -> String {
        text.append("}")
        return text
    }

    /// Appends a quoted string with what JSON wants escaped.
    private mutating func string(_ value: String) {
        text.append("\"")
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text.append("\\\"")
            case "\\": text.append("\\\\")
            case "\n": text.append("\\n")
            case "\r": text.append("\\r")
            case "\t": text.append("\\t")
            case "\u{0}"..."\u{1F}", "\u{7F}":
                text.append("\\u00")
                Hexadecimal.append(UInt8(truncatingIfNeeded: scalar.value), to: &text)
            default: text.unicodeScalars.append(scalar)
            }
        }
        text.append("\"")
    }

    /// Appends bytes in Base64 with padding.
    private mutating func base64(_ data: [UInt8]) {
        let alphabet = Array(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".unicodeScalars
        )
        var index = 0
        while index < data.count {
            let left = data.count - index
            let second = left > 1 ? UInt32(data[index + 1]) : 0
            let third = left > 2 ? UInt32(data[index + 2]) : 0
            let bits = UInt32(data[index]) << 16 | second << 8 | third
            for place in 0..<4 {
                let isPadding = place > left
                let digit = alphabet[Int(bits >> UInt32(18 - 6 * place) & 63)]
                text.unicodeScalars.append(isPadding ? "=" : digit)
            }
            index += 3
        }
    }
}
