"""Names that metrics bear elsewhere, and what they are: for tables that others made.

Nothing here is computed. A metric of ours goes by its own entry; what stands under these names in
the tables of lm-evaluation-harness, HELM, BIG-bench, transformers and papers is said here once, so
that nobody guesses a direction from a name's ending or a kind from a range of values.
"""

from __future__ import annotations

from emergectl.store.measurements import MetricFacts

_RIGHT = MetricFacts("discontinuous", "up", "share", "linear", 0.0, 1.0)
_WRONG = MetricFacts("discontinuous", "down", "share", "linear", 0.0, 1.0)
_LOSS = MetricFacts("continuous", "down", "loss", "linear", 0.0, likelihood="token")
_BYTE_LOSS = MetricFacts("continuous", "down", "loss", "linear", 0.0, likelihood="byte")
_OTHER_LOSS = MetricFacts("continuous", "down", "loss", "linear", 0.0)
_PERPLEXITY = MetricFacts("continuous", "down", "ratio", "log", 1.0, likelihood="token")
_BYTE_PERPLEXITY = MetricFacts("continuous", "down", "ratio", "log", 1.0, likelihood="byte")
_WORD_PERPLEXITY = MetricFacts("continuous", "down", "ratio", "log", 1.0)
_LOGPROB = MetricFacts("continuous", "up", "mean", "linear", None, 0.0, "item")
_CLASSES = MetricFacts("discontinuous", "up", "ratio", "linear", 0.0, 1.0)
_CORRELATION = MetricFacts("continuous", "up", "ratio", "linear", -1.0, 1.0)
_AREA = MetricFacts("continuous", "up", "area", "linear", 0.0, 1.0)
_RANKED = MetricFacts("continuous", "up", "mean", "linear", 0.0, 1.0)
_OVERLAP = MetricFacts("continuous", "up", "mean", "linear", 0.0)
_CORPUS = MetricFacts("continuous", "up", "ratio", "linear", 0.0, 100.0)
_PROBABILITY = MetricFacts("continuous", "up", "mean", "linear", 0.0, 1.0)
_ERRORS = MetricFacts("continuous", "down", "ratio", "linear", 0.0)
_DISTANCE = MetricFacts("continuous", "down", "mean", "linear", 0.0)

_NAMES: dict[MetricFacts, str] = {
    # Right or wrong, item by item.
    _RIGHT: """
        acc acc_norm acc_bytes acc_norm_bytes acc_mutual_info acc_greedy acc_all accuracy_norm
        em exact exact_match_strict quasi_exact_match prefix_exact_match quasi_prefix_exact_match
        mc1 multiple_choice_grade multiple_choice_accuracy exact_str_match top1 top_1 top1_accuracy
        top_1_accuracy top5 top_5 top5_accuracy top_5_accuracy subset_accuracy sentence_accuracy
        sequence_accuracy pass_at_1 success_rate win_rate hits precision_at
    """,
    _WRONG: "error error_rate err classification_error misclassification_rate",
    # Code lengths, in nats or bits; the logarithm of a perplexity is one, and not logged again.
    _LOSS: """
        nll nll_loss ce ce_loss cross_entropy cross_entropy_loss xent lm_loss token_loss
        negative_log_likelihood log_perplexity log_ppl logppl bits_per_token bpt
    """,
    _BYTE_LOSS: "bpb byte_loss",
    _OTHER_LOSS: "bits_per_character bits_per_char bpc bits_per_word bpw hinge_loss",
    _PERPLEXITY: "ppl token_perplexity",
    _BYTE_PERPLEXITY: "byte_perplexity byte_ppl",
    _WORD_PERPLEXITY: "word_perplexity word_ppl",
    # How likely the right answer is.
    _LOGPROB: """
        log_prob log_probability logprobs log_likelihood loglikelihood target_logprob
        target_log_prob correct_logprob logprob_of_target
    """,
    _PROBABILITY: "mc2 prob probability target_prob correct_prob probability_of_target confidence",
    # Functions of all items' classes.
    _CLASSES: """
        micro_f1 macro_f1 weighted_f1 f1_micro f1_macro f1_weighted f1_score precision recall
        balanced_accuracy macro_accuracy jaccard iou
    """,
    _CORRELATION: """
        matthews_corrcoef matthews_correlation matthews_correlation_coefficient pearson pearsonr
        pearson_correlation spearman spearmanr spearman_correlation kendall kendalltau kappa
        cohen_kappa r2 r_squared
    """,
    _AREA: "auc auroc roc_auc_score roc pr_auc auprc average_precision",
    _RANKED: "map mean_average_precision reciprocal_rank mean_reciprocal_rank rr ndcg_score",
    # Near in text.
    _OVERLAP: """
        rouge rouge1 rouge2 rougel rougelsum rouge_1 rouge_2 rouge_l rouge_lsum meteor bertscore
        bert_score bleurt comet token_f1 squad_f1
    """,
    _CORPUS: "sacrebleu bleu_score chrf++ chrf_plus_plus chrf2",
    _ERRORS: "wer cer ter word_error_rate character_error_rate translation_edit_rate",
    _DISTANCE: """
        levenshtein levenshtein_distance mse mae mean_squared_error mean_absolute_error rmse
        root_mean_squared_error brier_score calibration_error expected_calibration_error
    """,
}

FIELD_NAMES = {name: facts for facts, names in _NAMES.items() for name in names.split()}
"""name → what it is"""
