import { ApplicationFailure } from '@temporalio/activity';
import { problemKinds, TokenManagerError } from '../client/contract.ts';

/** PostgreSQL is away or refuses; nothing is wrong with the request. */
export function isStoreAway(error: unknown): boolean {
  return error instanceof TokenManagerError && error.code === 'store_unavailable';
}

/**
 * The one conversion of errors where activities/ throws: the type is the code, the message is the fixed
 * summary, and no cause goes along, for what a library says may hold more than Temporal may see.
 */
export function toApplicationFailure(error: unknown): ApplicationFailure {
  const code = error instanceof TokenManagerError ? error.code : 'internal';
  const { summary, retryable } = problemKinds[code];
  return ApplicationFailure.create({ type: code, message: summary, nonRetryable: !retryable });
}
