-- What every table, view and column says, kept in the pool itself: any client can ask duckdb_columns() for it.
-- A unit stands in brackets at the end. One statement a line: words.py reads the lines of sample, imported and
-- candidate for the columns of view `candidate`, and takes those of descriptors from their own words.

COMMENT ON TABLE source IS 'One row is one ingested file or folder.';
COMMENT ON COLUMN source.source_id IS 'order of ingestion, from 1';
COMMENT ON COLUMN source.path IS 'as resolved when it was ingested';
COMMENT ON COLUMN source.format IS 'container and shape the rows were read as';
COMMENT ON COLUMN source.kind IS 'image or video: all rows of a file share it';
COMMENT ON COLUMN source.name IS '--source-name, part of the ids; NULL where not given';
COMMENT ON COLUMN source.media_root IS 'folder that relative media paths start from';
COMMENT ON COLUMN source.fingerprint IS 'sha256 of the content';
COMMENT ON COLUMN source.settings IS 'JSON: the options that change what is read';
COMMENT ON COLUMN source.rows_read IS 'input rows read, good or bad [rows]';
COMMENT ON COLUMN source.rows_bad IS 'input rows that gave no sample [rows]';
COMMENT ON COLUMN source.samples IS 'question-answer pairs they gave [samples]';
COMMENT ON COLUMN source.ingested IS 'when it was committed [UTC]';

COMMENT ON TABLE bad_row IS 'One row is one input row that gave no sample, or gave one with a flaw worth knowing.';
COMMENT ON COLUMN bad_row.source_id IS 'the file: source.source_id';
COMMENT ON COLUMN bad_row.line IS 'line from 1, or row number in files without lines';
COMMENT ON COLUMN bad_row.reason IS 'one of a small set, to count by';
COMMENT ON COLUMN bad_row.detail IS 'what exactly, to look at';
COMMENT ON COLUMN bad_row.kept IS 'whether the row gave samples nevertheless';

COMMENT ON TABLE media IS 'One row is one image, frame list or video file.';
COMMENT ON COLUMN media.media_id IS 'hash of kind, root and paths';
COMMENT ON COLUMN media.kind IS 'image, frames or video';
COMMENT ON COLUMN media.root IS 'folder that relative paths start from';
COMMENT ON COLUMN media.paths IS 'one path, or the frames in time order';
COMMENT ON COLUMN media.bytes IS 'file size; this and what follows is NULL until it was read [bytes]';
COMMENT ON COLUMN media.width IS 'of the picture held upright [pixels]';
COMMENT ON COLUMN media.height IS 'of the picture held upright [pixels]';
COMMENT ON COLUMN media.fps IS 'frame rate of a video file [frames/s]';
COMMENT ON COLUMN media.frames IS 'frames of the file or list [frames]';
COMMENT ON COLUMN media.duration IS 'length of a video file [s]';
COMMENT ON COLUMN media.error IS 'why it cannot be read, or what is damaged';

COMMENT ON TABLE sample IS 'One row is one question-answer pair.';
COMMENT ON COLUMN sample.qa_uid IS 'id of the pair: ov:: or vv::, the row''s id, ::t and the turn';
COMMENT ON COLUMN sample.ordinal IS 'place in the order of ingestion: source, line, turn';
COMMENT ON COLUMN sample.source_id IS 'the file it came from: source.source_id';
COMMENT ON COLUMN sample.line IS 'line from 1, or row number in files without lines';
COMMENT ON COLUMN sample.id IS 'the row''s own id, or the one made from its line';
COMMENT ON COLUMN sample.turn IS 'number of the pair in its row, from 0';
COMMENT ON COLUMN sample.bucket IS 'image_qa, short_video or synthetic_text_video';
COMMENT ON COLUMN sample.video_uid IS 'what the per-video cap counts by; empty for images';
COMMENT ON COLUMN sample.data_source IS 'the data set it comes from, by its row';
COMMENT ON COLUMN sample.source_group IS 'data_source without its variant: a field of the strata';
COMMENT ON COLUMN sample.question IS 'without media tags, line breaks kept';
COMMENT ON COLUMN sample.answer IS 'the answer, line breaks kept';
COMMENT ON COLUMN sample.media_ids IS 'the media it shows, in order: media.media_id';
COMMENT ON COLUMN sample.listed_frames IS 'frames or images listed in the row; NULL where a video file must be asked [frames]';
COMMENT ON COLUMN sample.question_tokens IS 'matches of [A-Za-z0-9_]+ in the lower-cased question [tokens]';
COMMENT ON COLUMN sample.answer_tokens IS 'matches of [A-Za-z0-9_]+ in the lower-cased answer [tokens]';
COMMENT ON COLUMN sample.answer_distinct IS 'distinct answer tokens [tokens]';
COMMENT ON COLUMN sample.temporal_words IS 'whether the question has a word of the released list';
COMMENT ON COLUMN sample.mcq IS 'multiple choice by the normalised question, as released';
COMMENT ON COLUMN sample.mcq_raw IS 'multiple choice by the question with its line breaks';
COMMENT ON COLUMN sample.uid_hash IS '64 bits of XXH3(qa_uid): breaks ties, orders the uniform control';
COMMENT ON COLUMN sample.text_hash IS '64 bits of XXH3(question|||answer), both normalised';
COMMENT ON COLUMN sample.question_hash IS '64 bits of XXH3(question), normalised: the benchmark guard';

COMMENT ON VIEW sample_media IS 'One row is one place of a medium in a sample.';
COMMENT ON COLUMN sample_media.qa_uid IS 'the sample';
COMMENT ON COLUMN sample_media.position IS 'place among the sample''s media, from 0';
COMMENT ON COLUMN sample_media.media_id IS 'the medium: media.media_id';

COMMENT ON TABLE descriptor IS 'One row is one descriptor, at the version and by the probe that candidate shows.';
COMMENT ON COLUMN descriptor.name IS 'name of the descriptor and of its table';
COMMENT ON COLUMN descriptor.subject IS 'media or sample: what a value belongs to';
COMMENT ON COLUMN descriptor.version IS 'raised whenever values change their meaning';
COMMENT ON COLUMN descriptor.probe IS 'what made the values: a label of table probe, or a rule; empty where nothing is asked';
COMMENT ON COLUMN descriptor.columns IS 'JSON: column to {type, unit, doc}';

COMMENT ON TABLE description IS 'One row is one descriptor at one version by one probe.';
COMMENT ON COLUMN description.name IS 'name of the descriptor';
COMMENT ON COLUMN description.version IS 'its version';
COMMENT ON COLUMN description.probe IS 'what made the values';
COMMENT ON COLUMN description.begun IS 'when its first values were committed [UTC]';
COMMENT ON COLUMN description.complete IS 'when every subject had a row for the first time; NULL before [UTC]';

COMMENT ON TABLE probe IS 'One row is one model that made values, as it was when the first of them were committed.';
COMMENT ON COLUMN probe.label IS 'what the column probe of a descriptor''s table says';
COMMENT ON COLUMN probe.model IS 'name at a hub, a folder''s name, or self';
COMMENT ON COLUMN probe.source IS 'where it was loaded from';
COMMENT ON COLUMN probe.fingerprint IS 'digest of its configuration and weights';
COMMENT ON COLUMN probe.dtype IS 'type of the numbers it computed with';
COMMENT ON COLUMN probe.settings IS 'JSON: what the values depend on beside the weights';
COMMENT ON COLUMN probe.details IS 'JSON: versions, attention, and what else is worth knowing';
COMMENT ON COLUMN probe.made IS 'when its first values were committed [UTC]';

COMMENT ON TABLE imported IS 'One row is what was computed elsewhere for one qa_uid; ids that no sample has are kept, because the released score takes its mean and spread over every row of the metrics file.';
COMMENT ON COLUMN imported.qa_uid IS 'the sample';
COMMENT ON COLUMN imported.amm IS 'mean optical-flow length between 8 frames at 224 x 224; 0 or more [pixels]';
COMMENT ON COLUMN imported.frame_diversity IS 'mean absolute grey difference between 8 frames; 0 to 1';
COMMENT ON COLUMN imported.loss_blind IS 'mean cross-entropy of the answer, media not shown; 0 or more [nats]';
COMMENT ON COLUMN imported.loss_video IS 'mean cross-entropy of the answer, media shown; 0 or more [nats]';
COMMENT ON COLUMN imported.vds IS 'loss_blind - loss_video; above 0 where the media help [nats]';
COMMENT ON COLUMN imported.ppl IS 'exp(loss_video), the loss cut at 30; 1 or more';
COMMENT ON COLUMN imported.tnc IS 'need for temporal reasoning; 0 to 1';
COMMENT ON COLUMN imported.self_consistency IS 'mean pairwise Jaccard similarity of sampled answers'' token sets; 0 to 1';
COMMENT ON COLUMN imported.cluster_id IS 'number of the nearest centroid, from 0';
COMMENT ON COLUMN imported.cluster_dist IS 'distance of the sample''s vector to it; computed here 0 to 2';
COMMENT ON COLUMN imported.cluster_rep IS 'exp(-cluster_dist): 1 is typical; above 0, at most 1';
COMMENT ON COLUMN imported.cluster_hard IS '1 - cluster_rep: near 1 is an outlier';
COMMENT ON COLUMN imported.quality_score IS 'weighted mean of the descriptors'' terms (table quality_weight); 0 to 1';

COMMENT ON TABLE quality_weight IS 'One row is one weight of quality_score. A changed weight changes the scores at once.';
COMMENT ON COLUMN quality_weight.name IS 'what the term is about: a column of candidate; guess_ for the guess of a missing self_consistency';
COMMENT ON COLUMN quality_weight.weight IS '0 leaves the term out';

COMMENT ON TABLE quality_scale IS 'One row is one column that quality_score reads, as its values lay at the last commit.';
COMMENT ON COLUMN quality_scale.name IS 'the column of candidate';
COMMENT ON COLUMN quality_scale.samples IS 'that have a value, of those looked at; a term whose column has none is left out for all [samples]';
COMMENT ON COLUMN quality_scale.median IS 'of the values; NULL where the score takes the value as it is';
COMMENT ON COLUMN quality_scale.spread IS 'what the robust z divides by: quartile distance / 1.349';

COMMENT ON VIEW quality_constant IS 'One row: what the quality scores of all samples have in common.';
COMMENT ON COLUMN quality_constant.scores_imported IS 'whether an import brought scores: imported samples then have those alone';
COMMENT ON COLUMN quality_constant.weight IS 'weights in use, by column';
COMMENT ON COLUMN quality_constant.guess IS 'weights of the guess of a missing self_consistency';
COMMENT ON COLUMN quality_constant.scale IS 'median and spread, by column';
COMMENT ON COLUMN quality_constant.total IS 'sum of the weights in use';

COMMENT ON TABLE subset IS 'One row is one selection.';
COMMENT ON COLUMN subset.subset IS 'its name';
COMMENT ON COLUMN subset.preset IS 'name of the preset';
COMMENT ON COLUMN subset.parameters IS 'JSON: the preset as resolved';
COMMENT ON COLUMN subset.seed IS 'of ties and of the uniform control';
COMMENT ON COLUMN subset.pool_fingerprint IS 'digest of everything the selection read';
COMMENT ON COLUMN subset.versions IS 'JSON: versions of gdo and of what a result may depend on';
COMMENT ON COLUMN subset.report IS 'JSON: the report that select prints';
COMMENT ON COLUMN subset.created IS 'when it was chosen [UTC]';

COMMENT ON TABLE subset_sample IS 'One row is one member of a subset or of its uniform control.';
COMMENT ON COLUMN subset_sample.subset IS 'name of the subset';
COMMENT ON COLUMN subset_sample.role IS 'chosen or uniform';
COMMENT ON COLUMN subset_sample.qa_uid IS 'the sample';
COMMENT ON COLUMN subset_sample.rank IS 'from 0, in the order of selection';
COMMENT ON COLUMN subset_sample.score IS 'rho, the shared score; NULL for the uniform control';
COMMENT ON COLUMN subset_sample.stage IS 'the stage of the fill that took it';

COMMENT ON TABLE duplicate_search IS 'One row is one search for near-duplicates; each takes the place of the one before, with all its groups.';
COMMENT ON COLUMN duplicate_search.threshold IS 'least similarity of media that count as the same; 0 to 1';
COMMENT ON COLUMN duplicate_search.fingerprint IS 'version of descriptor fingerprint';
COMMENT ON COLUMN duplicate_search.parameters IS 'JSON: whatever else the groups depend on';
COMMENT ON COLUMN duplicate_search.media IS 'that could be compared [media]';
COMMENT ON COLUMN duplicate_search.media_unseen IS 'without a fingerprint: unreadable, or of one colour [media]';
COMMENT ON COLUMN duplicate_search.samples IS 'that were looked at [samples]';
COMMENT ON COLUMN duplicate_search.searched IS 'when; samples ingested later are in no group [UTC]';

COMMENT ON TABLE media_duplicate IS 'One row is one medium that shows the same as another one.';
COMMENT ON COLUMN media_duplicate.media_id IS 'the medium: media.media_id';
COMMENT ON COLUMN media_duplicate.duplicate_group IS 'from 0, in the order of the groups'' smallest media_id';
COMMENT ON COLUMN media_duplicate.similarity IS 'of its fingerprint to the most similar other one''s, laid on each other more widely where a close look joined them; 0 to 1';
COMMENT ON COLUMN media_duplicate.found_by IS 'what joined it: fingerprint; close look, where its fingerprint falls a little short; embedding, which proposed it for a close look';

COMMENT ON TABLE sample_duplicate IS 'One row is one sample that asks the same as another one, of the same media or of duplicates of them.';
COMMENT ON COLUMN sample_duplicate.qa_uid IS 'the sample';
COMMENT ON COLUMN sample_duplicate.duplicate_group IS 'from 0, in the order of the groups'' first sample';
COMMENT ON COLUMN sample_duplicate.similarity IS 'of its media to its most similar partner''s; 1 for the same media';

COMMENT ON TABLE evaluation IS 'One row is one checkpoint of a run, or a model, that was asked one set of questions by gdo evaluate.';
COMMENT ON COLUMN evaluation.evaluation IS 'what the set of questions is called';
COMMENT ON COLUMN evaluation.target IS 'folder of the run, or the model as it was named';
COMMENT ON COLUMN evaluation.step IS 'steps done; 0 for a model that gdo did not train [steps]';
COMMENT ON COLUMN evaluation.model IS 'where the training started';
COMMENT ON COLUMN evaluation.subset IS 'what was trained on: subset.subset of the pool in data; NULL for a file''s samples, and for a model';
COMMENT ON COLUMN evaluation.uniform IS 'whether that was the subset''s uniform control; NULL for a model, as the next four';
COMMENT ON COLUMN evaluation.multiple IS 'size of the control; NULL for all of it [subsets]';
COMMENT ON COLUMN evaluation.data IS 'JSON: path, subset, uniform, multiple and mix, what was trained on';
COMMENT ON COLUMN evaluation.recipe IS 'its name';
COMMENT ON COLUMN evaluation.seed IS 'of the recipe';
COMMENT ON COLUMN evaluation.samples IS 'trained on up to this checkpoint, 0 for a model, as the next five [samples]';
COMMENT ON COLUMN evaluation.tokens IS 'theirs, media included [tokens]';
COMMENT ON COLUMN evaluation.answer_tokens IS 'those that were learned [tokens]';
COMMENT ON COLUMN evaluation.frames IS 'pictures shown [frames]';
COMMENT ON COLUMN evaluation.flops IS 'operations of the model [FLOP]';
COMMENT ON COLUMN evaluation.seconds IS 'of training, without loading and saving [s]';
COMMENT ON COLUMN evaluation.asked_by IS 'gdo or lmms-eval';
COMMENT ON COLUMN evaluation.settings IS 'JSON: the questions and their digest, frames and pixels';
COMMENT ON COLUMN evaluation.questions IS 'how many there are [questions]';
COMMENT ON COLUMN evaluation.errors IS 'those that could not be asked: neither right nor wrong [questions]';
COMMENT ON COLUMN evaluation.correct IS 'answered rightly [questions]';
COMMENT ON COLUMN evaluation.accuracy IS 'correct among those without an error, 0 to 1; NULL where there are none';
COMMENT ON COLUMN evaluation.accuracy_by_sum IS 'the same, options taken by summed loss, 0 to 1';
COMMENT ON COLUMN evaluation.loss IS 'mean over questions of the right answer''s loss; NULL where lmms-eval asked [nats per token]';
COMMENT ON COLUMN evaluation.reported IS 'the benchmark''s own score in its own unit; NULL where gdo asked, or where a group has none';
COMMENT ON COLUMN evaluation.evaluated IS 'when it was put here [UTC]';

COMMENT ON TABLE evaluation_answer IS 'One row is one question asked of one checkpoint.';
COMMENT ON COLUMN evaluation_answer.evaluation IS 'evaluation.evaluation';
COMMENT ON COLUMN evaluation_answer.target IS 'evaluation.target';
COMMENT ON COLUMN evaluation_answer.step IS 'evaluation.step [steps]';
COMMENT ON COLUMN evaluation_answer.qa_uid IS 'the question''s id in its set; TASK::number where lmms-eval asked';
COMMENT ON COLUMN evaluation_answer.kind IS 'of question: what accuracies are told by';
COMMENT ON COLUMN evaluation_answer.form IS 'choice, free, or lmms where lmms-eval asked';
COMMENT ON COLUMN evaluation_answer.answer IS 'what is right';
COMMENT ON COLUMN evaluation_answer.said IS 'option of the lowest mean loss per token, or the greedy answer';
COMMENT ON COLUMN evaluation_answer.correct IS 'whether that is right; NULL with an error';
COMMENT ON COLUMN evaluation_answer.said_by_sum IS 'option of the lowest summed loss; NULL for others than choice';
COMMENT ON COLUMN evaluation_answer.correct_by_sum IS 'whether that is right';
COMMENT ON COLUMN evaluation_answer.loss IS 'of the right answer; NULL where lmms-eval asked [nats per token]';
COMMENT ON COLUMN evaluation_answer.error IS 'why it could not be asked, or not be judged; NULL where it could';

COMMENT ON VIEW evaluation_kind IS 'One row is one kind of question asked of one checkpoint.';
COMMENT ON COLUMN evaluation_kind.evaluation IS 'evaluation.evaluation';
COMMENT ON COLUMN evaluation_kind.target IS 'evaluation.target';
COMMENT ON COLUMN evaluation_kind.step IS 'evaluation.step [steps]';
COMMENT ON COLUMN evaluation_kind.kind IS 'of question';
COMMENT ON COLUMN evaluation_kind.questions IS 'how many there are [questions]';
COMMENT ON COLUMN evaluation_kind.errors IS 'those that could not be asked [questions]';
COMMENT ON COLUMN evaluation_kind.correct IS 'answered rightly [questions]';
COMMENT ON COLUMN evaluation_kind.accuracy IS 'correct among those without an error, 0 to 1; NULL where there are none';
COMMENT ON COLUMN evaluation_kind.loss IS 'mean of the right answers'' losses [nats per token]';

COMMENT ON TABLE run IS 'One row is one command that changed the pool.';
COMMENT ON COLUMN run.run_id IS 'from 1';
COMMENT ON COLUMN run.command IS 'its name';
COMMENT ON COLUMN run.arguments IS 'JSON: what it was called with';
COMMENT ON COLUMN run.versions IS 'JSON: versions of gdo and of what a result may depend on';
COMMENT ON COLUMN run.started IS 'when it started [UTC]';
COMMENT ON COLUMN run.ended IS 'when it ended [UTC]';

COMMENT ON TABLE migration IS 'One row is one change of the schema.';
COMMENT ON COLUMN migration.number IS 'of the script in gdo/pool/sql';
COMMENT ON COLUMN migration.gdo IS 'version that applied it';
COMMENT ON COLUMN migration.applied IS 'when [UTC]';

-- Of `candidate` only what no other table has.
COMMENT ON COLUMN candidate.media_frames IS 'frames of the sample''s first medium; NULL until it was read [frames]';
COMMENT ON COLUMN candidate.width IS 'of the first medium, held upright [pixels]';
COMMENT ON COLUMN candidate.height IS 'of the first medium, held upright [pixels]';
COMMENT ON COLUMN candidate.fps IS 'frame rate of the first medium, a video file [frames/s]';
COMMENT ON COLUMN candidate.duration IS 'length of the first medium, a video file [s]';
COMMENT ON COLUMN candidate.media_error IS 'why the first medium cannot be read, or what is damaged';
COMMENT ON COLUMN candidate.duration_bucket IS 'by kept frames: image, very_short to 8, short to 24, medium to 64, long to 160, very_long';
COMMENT ON COLUMN candidate.temporal_category IS 'Static for images; Temporal where the question has a word of the released list, else Mixed';
COMMENT ON COLUMN candidate.question_form IS 'MCQ or Open, as released';
COMMENT ON COLUMN candidate.q_len_bucket IS 'by question tokens: q_tiny to 6, q_short to 14, q_medium to 30, q_long to 60, q_very_long';
COMMENT ON COLUMN candidate.a_len_bucket IS 'by answer tokens: a_tiny to 2, a_short to 8, a_medium to 24, a_long to 64, a_very_long';
COMMENT ON COLUMN candidate.imported IS 'whether values computed elsewhere were imported for it; those come first';
COMMENT ON COLUMN candidate.described IS 'whether any descriptor has a row for it or its first medium';

COMMENT ON TABLE evaluation IS 'One row is one checkpoint that was asked one set of questions.';
COMMENT ON COLUMN evaluation.evaluation IS 'what the set of questions is called';
COMMENT ON COLUMN evaluation.target IS 'folder of the run, or the model as it was named';
COMMENT ON COLUMN evaluation.step IS 'steps done; 0 for a model that gdo did not train [steps]';
COMMENT ON COLUMN evaluation.model IS 'where the training started';
COMMENT ON COLUMN evaluation.subset IS 'that was trained on; NULL for a file''s samples, and for a model';
COMMENT ON COLUMN evaluation.uniform IS 'trained on the subset''s uniform control; NULL for a model, as all up to seed';
COMMENT ON COLUMN evaluation.multiple IS 'size of the control in subsets; NULL for all of it';
COMMENT ON COLUMN evaluation.data IS 'JSON: path, subset, uniform, multiple, mix';
COMMENT ON COLUMN evaluation.recipe IS 'its name';
COMMENT ON COLUMN evaluation.seed IS 'of the recipe';
COMMENT ON COLUMN evaluation.samples IS 'trained on up to this checkpoint, as are the next five; 0 for a model [samples]';
COMMENT ON COLUMN evaluation.tokens IS 'theirs, media included [tokens]';
COMMENT ON COLUMN evaluation.answer_tokens IS 'those that were learned [tokens]';
COMMENT ON COLUMN evaluation.frames IS 'pictures shown [frames]';
COMMENT ON COLUMN evaluation.flops IS 'operations of the model [FLOP]';
COMMENT ON COLUMN evaluation.seconds IS 'of training, without loading and saving [s]';
COMMENT ON COLUMN evaluation.asked_by IS 'gdo or lmms-eval';
COMMENT ON COLUMN evaluation.settings IS 'JSON: questions and their digest, frames and pixels';
COMMENT ON COLUMN evaluation.questions IS 'asked [questions]';
COMMENT ON COLUMN evaluation.errors IS 'that could not be asked: neither right nor wrong [questions]';
COMMENT ON COLUMN evaluation.correct IS 'answered rightly [questions]';
COMMENT ON COLUMN evaluation.accuracy IS 'correct among those without an error, 0 to 1; NULL where there are none';
COMMENT ON COLUMN evaluation.accuracy_by_sum IS 'the same, options taken by summed loss';
COMMENT ON COLUMN evaluation.loss IS 'mean over questions of the right answer''s loss [nats/token]';
COMMENT ON COLUMN evaluation.reported IS 'the benchmark''s own score, in its own unit; NULL where gdo asked';
COMMENT ON COLUMN evaluation.evaluated IS 'when it was put here [UTC]';

COMMENT ON TABLE evaluation_answer IS 'One row is one question asked of one checkpoint.';
COMMENT ON COLUMN evaluation_answer.evaluation IS 'what the set of questions is called';
COMMENT ON COLUMN evaluation_answer.target IS 'folder of the run, or the model as it was named';
COMMENT ON COLUMN evaluation_answer.step IS 'steps done [steps]';
COMMENT ON COLUMN evaluation_answer.qa_uid IS 'the question''s id in its set; for lmms-eval TASK::number';
COMMENT ON COLUMN evaluation_answer.kind IS 'of question: what accuracies are told by';
COMMENT ON COLUMN evaluation_answer.form IS 'choice, free, or lmms where lmms-eval asked';
COMMENT ON COLUMN evaluation_answer.answer IS 'what is right';
COMMENT ON COLUMN evaluation_answer.said IS 'option of the lowest mean loss per token, or the greedy answer';
COMMENT ON COLUMN evaluation_answer.correct IS 'whether it is right';
COMMENT ON COLUMN evaluation_answer.said_by_sum IS 'option of the lowest summed loss; NULL for others than choice';
COMMENT ON COLUMN evaluation_answer.correct_by_sum IS 'whether that is right';
COMMENT ON COLUMN evaluation_answer.loss IS 'of the right answer; NULL where lmms-eval asked [nats/token]';
COMMENT ON COLUMN evaluation_answer.error IS 'why it could not be asked; the others are NULL then';

COMMENT ON VIEW evaluation_kind IS 'One row is one kind of question asked of one checkpoint.';
COMMENT ON COLUMN evaluation_kind.evaluation IS 'what the set of questions is called';
COMMENT ON COLUMN evaluation_kind.target IS 'folder of the run, or the model as it was named';
COMMENT ON COLUMN evaluation_kind.step IS 'steps done [steps]';
COMMENT ON COLUMN evaluation_kind.kind IS 'the kind';
COMMENT ON COLUMN evaluation_kind.questions IS 'of it [questions]';
COMMENT ON COLUMN evaluation_kind.errors IS 'that could not be asked [questions]';
COMMENT ON COLUMN evaluation_kind.correct IS 'answered rightly [questions]';
COMMENT ON COLUMN evaluation_kind.accuracy IS 'correct among those without an error, 0 to 1';
COMMENT ON COLUMN evaluation_kind.loss IS 'mean of the right answers'' losses [nats/token]';
