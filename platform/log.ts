import { pino, type DestinationStream } from 'pino';
import { isColorSupported, prettyFactory } from 'pino-pretty';
import { describeError } from './describe-error.ts';
import { redactLine } from './redact-line.ts';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** An error goes under `err`. Fields and text never hold a secret; the redaction is the second line. */
interface LogMethod {
  (fields: object, message: string): void;
  (message: string): void;
}

/** One line an event. Other rooms take this type and receive a logger as an argument. */
export interface Logger {
  debug: LogMethod;
  info: LogMethod;
  warn: LogMethod;
  error: LogMethod;
  fatal: LogMethod;
  /** A logger whose every line carries these fields too; with a level of its own if it is given one. */
  child(fields: Record<string, unknown>, options?: { level?: LogLevel }): Logger;
}

export interface LoggerOptions {
  /** Service name on every line. */
  subsystem: string;
  level: LogLevel;
  /** For people rather than machines. */
  pretty: boolean;
  /** Standard output unless a test listens. */
  destination?: DestinationStream;
}

/**
 * JSON lines with `level`, `time` (ISO 8601), `pid`, `subsystem`, `msg`. Lines are written without
 * blocking the event loop, and what is left at `process.exit` is written then.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { subsystem, level, pretty, destination = standardOutput() } = options;
  return pino(
    {
      level,
      base: { pid: process.pid, subsystem },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      hooks: { streamWrite: redactLine },
    },
    pretty ? prettyStream(destination) : destination,
  );
}

function standardOutput(): DestinationStream {
  return pino.destination({ dest: 1, sync: false });
}

function prettyStream(destination: DestinationStream): DestinationStream {
  const prettify = prettyFactory({
    ignore: 'pid,subsystem',
    translateTime: 'SYS:HH:MM:ss.l',
    // Fields behind the message, so that an entry is one line; only an error takes more.
    singleLine: true,
    colorize: isColorSupported,
  });
  return { write: (line: string) => destination.write(prettify(line)) };
}
