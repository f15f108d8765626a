// Renders the overlays of deploy/kustomize and holds them against the schemas of the oldest and the newest Kubernetes.
import { join } from 'node:path';

import { output, root, runDeployCheck } from './deploy-check.mjs';
import { findGoTools, findKubernetesSchemas } from './pinned-tools.mjs';

const kubernetesVersions = ['1.31.0', '1.37.0'];
const overlays = ['dev', 'production', 'production-cloud-kms'];

await runDeployCheck(() => {
  const tools = findGoTools(root);
  const schemas = findKubernetesSchemas(root, kubernetesVersions);
  const file = '{{.ResourceKind}}{{.KindSuffix}}.json';
  for (const overlay of overlays) {
    const folder = join('deploy', 'kustomize', 'overlays', overlay);
    const input = output(join(tools, 'kustomize'), ['build', folder]);
    for (const version of kubernetesVersions) {
      const locations = [join(schemas, version, file), join('deploy', 'schemas', file)];
      const flags = locations.flatMap((location) => ['-schema-location', location]);
      try {
        output(join(tools, 'kubeconform'), ['-strict', ...flags, '-'], { input });
      } catch (error) {
        throw new Error(`overlay ${overlay}, Kubernetes ${version}:\n${error.message}`, {
          cause: error,
        });
      }
    }
  }
});
