extension SettingsChecker {
    /// Keys that only file sinks have.
    private static let fileKeys = ["path", "format", "compress", "rotate"]

    /// Checks the sinks against each other, and each against its type.
    mutating func checkSinks(_ tree: ConfigurationNode, _ settings: Settings) {
        var names: [String: Int] = [:]
        var paths: [String: Int] = [:]
        var kafka: Int?
        for (index, sink) in (tree["pump"]?["sinks"]?.elements ?? []).enumerated() {
            let path = "pump.sinks[\(index)]"
            if let name = sink["name"], let text = name.text {
                if let first = names[text] {
                    problem(
                        name,
                        path + ".name",
                        "\"\(text)\" is also the name of pump.sinks[\(first)]; choose another"
                    )
                } else {
                    names[text] = index
                }
            }
            switch sink["type"]?.text {
            case "kafka":
                if let kafka {
                    problem(
                        sink,
                        path,
                        "pump.sinks[\(kafka)] already ships to kafka.topic; remove one of them"
                    )
                } else {
                    kafka = index
                }
                checkKafkaSink(sink, path)
            case "file":
                checkFileSink(sink, path)
                if let node = sink["path"], let text = node.text {
                    if let first = paths[text] {
                        problem(
                            node,
                            path + ".path",
                            "is also the directory of pump.sinks[\(first)]; choose another"
                        )
                    } else {
                        paths[text] = index
                    }
                }
            default: break
            }
            if let minimum = sink["retry"]?["delay_min"]?.text,
                let maximum = sink["retry"]?["delay_max"], let text = maximum.text,
                let low = try? ValueParser.duration(minimum),
                let high = try? ValueParser.duration(text), high < low
            {
                problem(maximum, path + ".retry.delay_max", "is less than delay_min; raise it")
            }
        }
        if settings.transport == .kafka, kafka == nil,
            let index = names[PumpSettings.impliedSinkName]
        {
            problem(
                tree["pump"]?["sinks"]?.elements?[index]["name"] ?? tree,
                "pump.sinks[\(index)].name",
                "\"\(PumpSettings.impliedSinkName)\" is the sink that transport: kafka implies; "
                    + "choose another name"
            )
        }
    }

    private mutating func checkKafkaSink(_ sink: ConfigurationNode, _ path: String) {
        for key in Unsupported.sinkKeys {
            guard let node = sink[key.name] else { continue }
            problem(
                node,
                "\(path).\(key.name)",
                "records on their way to the aggregator must all arrive; remove it, "
                    + "or put it on another sink"
            )
        }
        for key in Self.fileKeys {
            guard let node = sink[key] else { continue }
            problem(node, "\(path).\(key)", "belongs to sinks of type file; remove it")
        }
    }

    private mutating func checkFileSink(_ sink: ConfigurationNode, _ path: String) {
        for key in Unsupported.sinkKeys {
            guard let node = sink[key.name] else { continue }
            problem(node, "\(path).\(key.name)", "is \(Unsupported.phrase); \(key.instead)")
        }
        if sink["path"]?.text == nil {
            problem(sink, path, "the key \"path\" is missing: a file sink needs a directory")
        }
    }

    /// Checks that Kafka can be found if something uses it.
    mutating func checkKafka(_ tree: ConfigurationNode, _ settings: Settings) {
        guard settings.usesKafka else {
            if let node = tree["kafka"], !node.isNull {
                note(
                    node,
                    "kafka",
                    "is not used: transport is local, and no sink is of type kafka"
                )
            }
            return
        }
        // Brokers that could not be read have been reported one by one.
        if let node = tree["kafka"]?["brokers"], !node.isNull, node.elements?.isEmpty != true {
            return
        }
        problem(
            tree["kafka"]?["brokers"] ?? tree["kafka"] ?? tree["transport"] ?? tree["pump"] ?? tree,
            "kafka.brokers",
            "is missing: give at least one broker, as in [127.0.0.1:9092]"
        )
    }
}
