// Workflows of a consumer, as a Worker of theirs bundles them.
import { createNexusServiceClient } from '@temporalio/workflow';
import { tokenManagerService } from 'token-manager/nexus';
import { ensureFresh, type EnsureFreshOptions, type RefreshResult } from 'token-manager/workflow';

export async function waits(
  connectionId: string,
  options: EnsureFreshOptions,
): Promise<RefreshResult> {
  // @ts-expect-error A misspelt option is a fault.
  const misspelt: EnsureFreshOptions = { minTtl: 60 };
  void misspelt;
  return ensureFresh(connectionId, options);
}

export async function waitsByOperation(
  endpoint: string,
  connectionId: string,
): Promise<RefreshResult> {
  const tokenManager = createNexusServiceClient({ endpoint, service: tokenManagerService });
  return tokenManager.executeOperation(
    'ensureFresh',
    { connectionId },
    { scheduleToCloseTimeout: '1 minute' },
  );
}
