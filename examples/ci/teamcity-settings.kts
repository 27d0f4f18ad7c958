// Copy to .teamcity/settings.kts. Four batches of parallel tests report to one execution.
// Replace the value of env.TMS_API_TOKEN by a token that TeamCity stores ("Generate token for a secure value").
import jetbrains.buildServer.configs.kotlin.*
import jetbrains.buildServer.configs.kotlin.buildFeatures.parallelTests
import jetbrains.buildServer.configs.kotlin.buildSteps.script

version = "2024.12"

project {
    buildType {
        id("Tests")
        name = "Tests"
        vcs { root(DslContext.settingsRoot) }
        params {
            param("env.TMS_URL", "https://tms.example.com/api")
            password("env.TMS_API_TOKEN", "credentialsJSON:00000000-0000-0000-0000-000000000000")
            // Each batch is a build of its own: the revision is what they share. A build that runs again
            // reports the next attempt of its shards.
            param("env.TMS_RUN_KEY", "%teamcity.project.id%/%build.vcs.number%")
        }
        features { parallelTests { numberOfBatches = 4 } }
        steps {
            script {
                scriptContent = """
                    pip install -r requirements.txt pytest-tms
                    pytest --tms-suite smoke --tms-environment staging --tms-shard %teamcity.build.parallelTests.currentBatch%/%teamcity.build.parallelTests.totalBatches%
                """.trimIndent()
            }
        }
    }
}
