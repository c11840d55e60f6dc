import Console
import SluiceConfiguration

/// What `sluice status` knows, as named tables.
struct StatusReport: Sendable {
    /// The tables with their headings, in the order of the data flow.
    var sections: [(name: String, table: Table)] = []

    /// Looks at the data directory and, if it answers, at the database.
    static func make(_ settings: Settings) async throws -> StatusReport {
        let data = DataDirectory(settings.data)
        guard data.exists else {
            throw CommandFailure.failed(
                "there is no data directory \"\(data.path)\"; name it with --data, or start "
                    + "`sluice up`"
            )
        }
        let processes = ProcessRegistry(data).running()
        let database = await DatabaseAnswer.ask(settings, data)
        var report = StatusReport()
        report.sections.append(("processes", table(processes)))
        report.sections.append(("logs", try await logs(settings, data, database)))
        if !settings.pump.sinks.isEmpty {
            report.sections.append(("sinks", try await sinks(settings, data, processes)))
            report.sections += try await SinkLedgerStatus.sections(settings, data)
        }
        if settings.transport == .kafka {
            report.sections.append(("kafka", await kafka(settings, database)))
        }
        report.sections += database.sections
        return report
    }

    /// The report in a format.
    func text(_ format: OutputFormat) -> String {
        switch format {
        case .table:
            return sections.map { name, table in
                let body = table.rows.isEmpty ? "none\n" : table.text(.table, inBold: Terminal.bold)
                return Terminal.bold(name.uppercased()) + "\n" + body
            }.joined(separator: "\n")
        case .json:
            let members = sections.map { "\(JSONText.quoted($0.name)):\($0.table.text(.json))" }
            return "{" + members.joined(separator: ",") + "}\n"
        case .ndjson:
            return sections.map { name, table in
                var named = Table(["section"] + table.columns)
                named.rows = table.rows.map { [.text(name)] + $0 }
                return named.text(.ndjson)
            }.joined()
        case .csv:
            var long = Table(["section", "row", "name", "value"])
            for (name, table) in sections {
                for (number, row) in table.rows.enumerated() {
                    for (column, cell) in zip(table.columns, row) {
                        long.rows.append(
                            [
                                .text(name), .integer(Int64(number)), .text(column),
                                .text(cell.plain),
                            ])
                    }
                }
            }
            return long.text(.csv)
        }
    }
}
