import type { AsyncLocalStorage } from 'node:async_hooks';
import {
  Connection,
  defaultGrpcRetryOptions,
  isGrpcServiceError,
  makeGrpcRetryInterceptor,
  type ConnectionOptions,
} from '@temporalio/client';
import { TokenManagerError } from '../client/contract.ts';
import type { TemporalConnectionConfig } from './temporal-settings.ts';

type Interceptor = NonNullable<ConnectionOptions['interceptors']>[number];

/** grpc-js would let the pause between attempts to connect grow to two minutes. */
const reconnectPauseMinMs = 250;
const reconnectPauseMaxMs = 2_000;

/** Of the gRPC status codes: nothing reached the server. */
const statusUnavailable = 14;
const statusNotFound = 5;
/** With the pauses of the SDK between them, two seconds: time for a frontend to be replaced. */
const triesWhileUnavailable = 5;
const awaitsResult = '/GetWorkflowExecutionHistory';

/**
 * A client connection that connects when it is used, for a process that serves without Temporal too.
 * After an outage of any length it is back within seconds; a call fails about 2 s after Temporal was
 * found away, but the wait for the result of a run goes on for some 20 s.
 */
export function createLazyTemporalConnection(config: TemporalConnectionConfig): Connection {
  const connection = Connection.lazy({
    ...config.connectionOptions(),
    channelArgs: {
      'grpc.initial_reconnect_backoff_ms': reconnectPauseMinMs,
      'grpc.max_reconnect_backoff_ms': reconnectPauseMaxMs,
    },
    interceptors: [createRetry()],
  });
  endWithCalls(connection.callContextStorage);
  return connection;
}

/**
 * Turns the storage off whenever nothing runs in it. Before version 24 Node hooks every promise and callback of
 * a process once an AsyncLocalStorage has run, which the SDK's does with each call; a gateway whose only
 * business is reading tokens would pay a third of its CPU for that.
 */
export function endWithCalls<Context>(
  storage: Pick<AsyncLocalStorage<Context>, 'run' | 'disable'>,
): void {
  const run: <Result>(context: Context, work: () => Result) => Result = storage.run.bind(storage);
  let running = 0;
  const end = () => {
    running -= 1;
    if (running === 0) storage.disable();
  };
  storage.run = <Result>(context: Context, work: () => Result): Result => {
    running += 1;
    let result: Result;
    try {
      result = run(context, work);
    } catch (error) {
      end();
      throw error;
    }
    if (result instanceof Promise) void result.then(end, end);
    else end();
    return result;
  };
}

/**
 * Whether a worker may come about later where it could not now. That a namespace does not exist or an
 * API key is refused counts too: both are put right at Temporal, while this process waits.
 */
export function isTemporalAway(error: unknown): boolean {
  // The class is not for use outside the SDK, its name is what there is.
  return (
    error instanceof TokenManagerError ||
    (error instanceof Error && error.name === 'TransportError')
  );
}

/** Whether a call failed because Temporal has no such namespace. */
export function isNamespaceMissing(error: unknown): boolean {
  return isNotFound(error);
}

/** Whether Temporal has answered that it does not know what was asked for. */
export function isNotFound(error: unknown): boolean {
  return isGrpcServiceError(error) && (error.code as number) === statusNotFound;
}

function createRetry(): Interceptor {
  const standard = defaultGrpcRetryOptions();
  const patient = makeGrpcRetryInterceptor(standard);
  const brief = makeGrpcRetryInterceptor({
    ...standard,
    retryableDecider: (attempt, status) =>
      ((status.code as number) !== statusUnavailable || attempt < triesWhileUnavailable) &&
      standard.retryableDecider(attempt, status),
  });
  return (options, nextCall) => {
    const isWait = options.method_definition.path.endsWith(awaitsResult);
    return (isWait ? patient : brief)(options, nextCall);
  };
}
