import { isGrpcServiceError } from '@temporalio/client';

/** Asks Temporal with a deadline. */
export type Ask = <Answer>(call: () => Promise<Answer>) => Promise<Answer>;

/** Those of the gRPC status codes that tell what to do. */
export const grpcCodes = {
  notFound: 5,
  permissionDenied: 7,
  unimplemented: 12,
  unauthenticated: 16,
} as const;

export function grpcCodeOf(error: unknown): number | undefined {
  return isGrpcServiceError(error) ? error.code : undefined;
}

export function grpcReasonOf(error: unknown): string {
  if (isGrpcServiceError(error)) return error.details === '' ? error.message : error.details;
  return error instanceof Error ? error.message : 'unknown reason';
}
