"""Every reason that a condition of ours can carry, each with the line that the documentation shows for it."""

from enum import StrEnum


class Reason(StrEnum):
    """CamelCase words for machines; what a person should do is in the condition's message."""

    # Ready, Reconciling, Stalled
    AVAILABLE = "Available"  # works, and rows arrive
    AVAILABLE_NO_DATA = "AvailableNoData"  # works, but no row has ever come
    AVAILABLE_STALE = "AvailableStale"  # works, but no row has come for longer than the window
    ARCHIVED = "Archived"  # switched off on purpose; the data are kept
    UP_TO_DATE = "UpToDate"  # nothing is left to do
    NOT_STALLED = "NotStalled"  # nothing hinders
    SETTINGS_PENDING = "SettingsPending"  # the store has not confirmed the newest settings yet
    SETTINGS_REFUSED = "SettingsRefused"  # the store cannot use the settings it was given
    ROLLING_OUT = "RollingOut"  # the store is being replaced
    DELETING = "Deleting"  # being cleaned up
    INVALID_ATTRIBUTES = "InvalidAttributes"  # the attributes do not fit together
    INVALID_SPEC = "InvalidSpec"  # the spec cannot be read
    NOT_SUPPORTED_YET = "NotSupportedYet"  # accepted by the schema, but this version does not do it
    NAME_TAKEN = "NameTaken"  # an object that is not ours has the name of a child
    MODEL_ID_TAKEN = "ModelIdTaken"  # an older model of the namespace has the same id
    FOREIGN_DATA = "ForeignData"  # the claim holds the data of another model
    PREVIOUS_CHILDREN = "PreviousChildren"  # what a deleted namesake left is still being collected
    PROGRESS_DEADLINE = "ProgressDeadlineExceeded"  # the store did not come up in ten minutes
    CHILD_MISSING = "NotCreatedYet"  # not made yet

    # StorageReady
    BOUND = "Bound"  # the claim has a volume
    WAITING_FOR_POD = "WaitingForPod"  # the class binds when a pod is scheduled
    WAITING_FOR_VOLUME = "WaitingForVolume"  # the claim has no volume yet
    VOLUME_LOST = "VolumeLost"  # the claim's volume is gone

    # StoreAvailable, and pods in general
    ANSWERING = "Answering"  # the store answers and takes in rows
    STARTING = "Starting"  # its pod is being started
    RECOVERING = "Recovering"  # it replays its log
    DRAINING = "Draining"  # it is about to end
    STORE_FAILED = "StoreFailed"  # it runs but cannot work
    STORE_UNREACHABLE = "StoreUnreachable"  # its pod runs but does not answer the operator
    STORE_REFUSES_KEY = "StoreRefusesKey"  # it does not accept the cell's key
    WRONG_CELL = "WrongCell"  # another model answers at its address
    UNSCHEDULABLE = "Unschedulable"  # no node takes the pod
    IMAGE_PULL_FAILED = "ImagePullFailed"  # the image cannot be had
    CONTAINER_CONFIG = "ContainerConfigError"  # something the container mounts or reads is not there
    CRASH_LOOPING = "CrashLooping"  # the process ends again and again
    OUT_OF_MEMORY = "OutOfMemory"  # it needs more memory than its limit
    POD_REFUSED = "PodRefused"  # the API server does not let the pod be made
    EVICTED = "Evicted"  # the node put the pod out

    # DataFlowing, ReferenceLoaded, ModelHealthy
    ARRIVING = "Arriving"  # rows arrive
    NO_DATA = "NoData"  # no row has ever come
    STALE = "Stale"  # no row has come for longer than the window
    NO_REFERENCE = "NoReference"  # there is nothing to compare with
    REFERENCE_OPEN = "ReferenceOpen"  # the dataset is not closed yet
    REFERENCE_PROFILING = "ReferenceProfiling"  # closed, and being profiled
    REFERENCE_FAILED = "ReferenceFailed"  # the dataset cannot be used
    REFERENCE_NOT_FOUND = "ReferenceNotFound"  # spec.referenceRef names no dataset of the store
    LOADED = "Loaded"  # the profile is in use
    INSUFFICIENT_DATA = "InsufficientData"  # too few rows in the window for a verdict
    NO_VERDICT = "NoVerdictYet"  # no window has been judged yet
    PERFORMANCE_WORSE = "PerformanceWorse"  # by its labels, or by an estimate that can be trusted
    PREDICTIONS_DRIFTED = "PredictionsDrifted"  # what the model says has changed
    INPUTS_DRIFTED = "InputsDrifted"  # the share of drifted inputs has reached monitoring.driftedShare
    DEPENDENCE_BROKEN = "DependenceBroken"  # attributes no longer depend on each other as they did
    DATA_UNSOUND = "DataUnsound"  # values missing, out of range or never seen before, or rows that come again
    VOLUME_UNUSUAL = "VolumeUnusual"  # far more or far fewer rows than in the windows before
    ROWS_LATE = "RowsLate"  # many rows come far later than they used to
    WITHIN_BOUNDS = "WithinBounds"  # nothing that matters has drifted

    # ReferenceDataset
    MODEL_MISSING = "ModelMissing"  # spec.modelRef names no model of this namespace
    STORE_NOT_READY = "StoreNotReady"  # the model's store does not take in data yet
    WAITING_FOR_DATA = "WaitingForData"  # open for uploads
    LOADING = "LoadingSource"  # the Job that reads spec.source is at work
    LOADED_OPEN = "SourceLoaded"  # all of spec.source is in the store; waits for spec.closed
    SOURCE_FAILED = "SourceFailed"  # the Job that reads spec.source gave up
    CREDENTIALS_MISSING = "CredentialsMissing"  # a Secret that the spec names is not there
    CREDENTIALS_NOT_USABLE = "CredentialsNotUsable"  # its owner has not allowed models to use it
    COUNT_MISMATCH = "CountMismatch"  # the rows uploaded are not as many as spec.totalRecordCount says
    CLOSED = "Closed"  # complete and immutable
    PROFILED = "Profiled"  # the profile is in the store
    PROFILING = "Profiling"  # the Job is at work
    PROFILE_FAILED = "ProfileFailed"  # the Job gave up
    REFUSED_BY_STORE = "RefusedByStore"  # the store does not accept the declaration

    # ServerAvailable, EnvironmentReady, ExplainerReady, Monitored
    RUNNING = "Running"  # the server's pods run
    SERVING = "Serving"  # the server predicts
    LOADING_CODE = "LoadingCode"  # the user's code is being loaded; True: the code before predicts meanwhile
    FILES_BEFORE = "FilesBefore"  # the files before do the work: the new ones cannot be fetched or loaded
    CODE_FAILED = "CodeFailed"  # the user's code cannot be loaded
    CODE_RESTARTING = "CodeRestarting"  # the user's code ended and is started again
    FETCHING = "Fetching"  # the Job that reads a file's source is at work; True: those before do the work
    INSTALLING = "Installing"  # the Job that installs packages is at work
    INSTALL_FAILED = "InstallFailed"  # it gave up; the message ends with its last lines
    INSTALLED = "Installed"  # the packages are there
    NOTHING_TO_INSTALL = "NothingToInstall"  # no packages are asked for beside those of the image
    OWN_IMAGE = "OwnImage"  # an image of the user's own brings the packages
    OTHER_PYTHON = "OtherPython"  # all is there, but for another Python than was asked for
    EXPLAINING = "Explaining"  # rows are explained; the message says how
    PREDICTIONS_DIFFER = "PredictionsDiffer"  # they are, but predict is not what the reference says it was
    MONITORED = "Monitored"  # predictions made here are inferences of the model
    NO_ATTRIBUTES = "NoAttributes"  # they are kept as they are, until the model has attributes

    # Enrichment
    DISABLED = "Disabled"  # spec.enabled is false
    DUPLICATE_ENRICHMENT = "DuplicateEnrichment"  # an older one of the same type counts for the model
    NOT_FOR_THIS_MODEL = "NotForThisModel"  # this type does not apply to such a model
    WAITING = "Waiting"  # something that it needs is missing
    TRAINING = "Training"  # the Job is at work
    TRAINED = "Trained"  # what was trained is in use
    TRAINING_FAILED = "TrainingFailed"  # the Job gave up, or it cannot be trained from these data
